"""One seed, one result: bit for bit on a CPU for every method and number of loader processes, on a GPU when asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.faults.tiny_runs import LONG, Bench, tiny

from semiseg.files import append_text

METHODS = {
    "supervised": ("v3", "pseudo_label=none"),
    "v1": ("v1",),
    "v2": ("v2", "pseudo_label.discriminator_start=1"),
    "v3": ("v3", "pseudo_label.threshold=0"),
    "ema teacher": ("v3", "pseudo_label.threshold=0", "pseudo_label.teacher=ema"),
    "lightweight": ("lightweight",),
}
THREE_STEPS = ("trainer.max_steps=3", "trainer.eval_every=2")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench.plant(tmp_path_factory.mktemp("seeds"))


def typed(method: str, *others: str) -> list[str]:
    system, *changes = METHODS[method]
    return tiny(system, *changes, *THREE_STEPS, *others)


def assert_equal(one: tuple, other: tuple) -> None:
    """The same lines, and the same bits of every tensor."""
    assert json.dumps(one[0]) == json.dumps(other[0])  # as text, in which NaN equals NaN
    assert one[1].keys() == other[1].keys()
    assert not [name for name, tensor in one[1].items() if not torch.equal(tensor, other[1][name])]


@pytest.mark.parametrize("method", METHODS)
def test_one_seed_gives_the_same_bits_with_any_number_of_workers(bench: Bench, method: str) -> None:
    first = bench.outcome(*typed(method, "seed=3"))
    assert len(first[0]) == 5  # three steps and two evaluations
    for workers in (0, 1, 2) if LONG else (2,):
        assert_equal(first, bench.outcome(*typed(method, "seed=3", f"trainer.num_workers={workers}")))


def test_another_seed_gives_other_numbers(bench: Bench) -> None:
    one, other = (bench.outcome(*typed("v3", f"seed={seed}"))[0] for seed in (3, 4))
    assert one[0]["loss/total"] != other[0]["loss/total"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("method", METHODS)
def test_deterministic_runs_on_a_gpu_give_the_same_bits(bench: Bench, method: str) -> None:
    asked = typed(method, "trainer.device=cuda", "trainer.deterministic=true", "trainer.num_workers=1")
    assert_equal(bench.outcome(*asked), bench.outcome(*asked))


@pytest.fixture
def original(tmp_path: Path) -> tuple[Bench, Path]:
    """A bench in which the run "first" of V1 is finished."""
    bench = Bench.plant(tmp_path)
    with bench.entered():
        assert bench.verb(*typed("v1", "seed=3", "name=first")) == 0
    return bench, Path("runs/semiseg/first")


def again(bench: Bench, *typed: str) -> int:
    with bench.entered():
        return bench.verb(*typed)


def summary(bench: Bench, name: str, output: str = "runs") -> dict:
    return json.loads((bench.path / output / "semiseg" / name / "summary.json").read_text(encoding="utf-8"))


def test_a_run_is_reproduced_from_its_stored_config(original: tuple[Bench, Path], capfd) -> None:
    bench, run = original
    assert again(bench, f"reproduce={run}", "name=again") == 0
    found = summary(bench, "again")["reproduction"]
    assert (found["verdict"], found["steps_compared"], found["environment"]) == ("identical", 3, {})
    assert found["metrics"]["loss/total"] == {"largest_difference": 0.0, "first_step": None}
    assert "Reproduction " in capfd.readouterr().out
    assert summary(bench, "again")["choices"] == summary(bench, "first")["choices"]


def test_a_name_is_given_where_none_is_typed_and_the_data_may_have_moved(original: tuple[Bench, Path]) -> None:
    bench, run = original
    shutil.move(bench.path / "salak", bench.path / "moved")
    assert again(bench, f"reproduce={run}", "data.root=moved", "output=elsewhere") == 0
    (folder,) = bench.path.glob("elsewhere/semiseg/first-again-*")
    assert summary(bench, folder.name, "elsewhere")["reproduction"]["verdict"] == "identical"


def test_other_numbers_are_told(original: tuple[Bench, Path]) -> None:
    bench, run = original
    file = bench.path / run / "summary.json"
    stored = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(stored | {"best_val_miou": 0.9, "git_commit": "older"}), encoding="utf-8")
    append_text(bench.path / run / "metrics.jsonl", '{"step": 2, "loss/total": 100.0}\n')
    assert again(bench, f"reproduce={run}", "name=again") == 0
    found = summary(bench, "again")["reproduction"]
    assert found["verdict"] == "different"
    assert found["metrics"]["loss/total"]["first_step"] == 2
    assert found["environment"]["git_commit"][0] == "older"


def test_data_that_is_gone_or_changed_is_told_before_training(original: tuple[Bench, Path], capfd) -> None:
    bench, run = original
    image = next((bench.path / "salak").glob("*/images/west_1*"))
    image.unlink()
    image.parents[1].joinpath("masks", image.name).unlink()
    assert again(bench, f"reproduce={run}", "name=changed") == 1
    assert "is no longer that of the run" in capfd.readouterr().err
    shutil.rmtree(bench.path / "salak")
    assert again(bench, f"reproduce={run}", "name=gone") == 1
    assert "data.root=PATH" in capfd.readouterr().err
    assert not list(bench.path.glob("runs/semiseg/changed/metrics.jsonl"))


def test_a_reproduction_that_was_interrupted_is_continued(original: tuple[Bench, Path], monkeypatch) -> None:
    from semiseg.engine.engine import Engine

    bench, run = original
    train_step = Engine._train_step

    def interrupted(self: Engine, *args) -> object:
        if self.step == 2:
            raise KeyboardInterrupt
        return train_step(self, *args)

    stored = bench.path / run / ".hydra" / "config.yaml"
    text = stored.read_text(encoding="utf-8")
    stored.write_text(text.replace("save_latest_every: 100", "save_latest_every: 1"), encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_train_step", interrupted)
        assert again(bench, f"reproduce={run}", "name=again") == 130
    assert again(bench, "resume=true", "name=again") == 0
    assert summary(bench, "again")["reproduction"]["verdict"] == "identical"
