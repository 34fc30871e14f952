"""The best weights on the disk are those whose score the run reports, whatever a resumption finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from semiseg.engine import checkpoint as files
from semiseg.resumption import resume
from semiseg.tensor_file import step_of

LENGTH = {"max_steps": 6, "eval_every": 2, "save_latest_every": 100}


@pytest.fixture
def resumed(make_engine) -> Callable[..., Any]:
    """An engine that continues from `checkpoint_N.pth` of a run whose later checkpoints are gone."""

    def start(scores: tuple[float, ...], save_every: int, again: tuple[float, ...]) -> Any:
        first = make_engine(scores=scores, save_every=save_every, **LENGTH)
        first.fit()
        first.checkpoints.latest.unlink()
        (first.checkpoints.folder / "checkpoint_6.pth").unlink()
        engine = make_engine(scores=again, save_every=save_every, **LENGTH)
        engine.said = []
        resume(engine, SimpleNamespace(message=engine.said.append, warning=engine.said.append))  # type: ignore[arg-type]
        return engine

    return start


def best(engine: Any) -> Path:
    return engine.checkpoints.best


def test_weights_of_an_abandoned_training_are_kept_aside_and_the_score_is_that_of_the_file(resumed) -> None:
    engine = resumed(scores=(0.3, 0.2, 0.7), save_every=3, again=(0.1, 0.2))
    assert engine.step == 3 and any("is of iteration 6" in text for text in engine.said)
    assert step_of(best(engine).with_name("salvaged_6_model.pth")) == 6 and not best(engine).exists()
    engine.fit()
    assert engine.best.weights == (6, 0.2) and step_of(best(engine)) == 6
    assert (engine.best.step, engine.best.miou, engine.best.since) == (2, 0.3, 2)  # what the patience counts by
    assert not best(engine).with_name("salvaged_6_model.pth").exists()  # the same weights, come to again
    assert files.load(engine.checkpoints.latest)["best_weights"] == (6, 0.2)


def test_other_weights_of_the_same_step_do_not_replace_what_is_kept_aside(resumed) -> None:
    engine = resumed(scores=(0.3, 0.2, 0.7), save_every=3, again=(0.1, 0.2))
    kept = best(engine).with_name("salvaged_6_model.pth")
    before = kept.read_bytes()
    with torch.no_grad():
        engine.method.student.head.bias += 1
    engine.fit()
    assert step_of(best(engine)) == 6 and kept.read_bytes() == before != best(engine).read_bytes()


def test_best_weights_that_the_checkpoint_holds_are_written_again(resumed) -> None:
    engine = resumed(scores=(0.2, 0.5, 0.7), save_every=2, again=(0.5, 0.1))
    assert engine.step == 4 and engine.best.weights == (4, 0.5) and step_of(best(engine)) == 4
    held = files.load(engine.checkpoints.folder / "checkpoint_4.pth")["model_state"]
    torch.testing.assert_close(dict(files.load(best(engine))), dict(held), rtol=0, atol=0)
    assert engine.recorder.matrices_of == 0.5  # in the place of those of the abandoned training
    engine.fit()
    assert engine.best.weights == (4, 0.5) and step_of(best(engine)) == 4


def test_a_checkpoint_of_before_has_its_best_weights_as_they_are(make_engine) -> None:
    first = make_engine(scores=(0.3, 0.2), save_every=3, **LENGTH)
    first.fit()
    for path in (first.checkpoints.latest, best(first)):
        state = files.load(path)
        files.save({key: value for key, value in state.items() if key not in ("best_weights", "data")}, path)
    engine, said = make_engine(scores=(0.2,), **LENGTH), []
    resume(engine, SimpleNamespace(message=said.append, warning=said.append))  # type: ignore[arg-type]
    assert engine.best.weights == (2, 0.3) and len(said) == 1 and best(engine).is_file()
