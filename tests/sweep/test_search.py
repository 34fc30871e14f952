"""A search proposes, runs and learns; it goes on where it was stopped."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from semiseg.errors import ConfigError
from semiseg.sweep.search import SearchConfig, distribution, value_text

optuna = pytest.importorskip("optuna", reason="the extra `sweep` is not installed")
SMALL = ("+sweep=optuna_thresholds", "data=dubai", "seed=5", "hydra.launcher.n_jobs=2")


def drawn(text: str):
    return distribution(OverridesParser.create().parse_override(text))


def test_search_space_in_the_words_of_overrides() -> None:
    d = optuna.distributions
    assert drawn("a=interval(0.3,0.9)") == d.FloatDistribution(0.3, 0.9)
    assert drawn("a=tag(log,interval(1e-4,1e-2))") == d.FloatDistribution(1e-4, 1e-2, log=True)
    assert drawn("a=tag(int,interval(2,9))") == d.IntDistribution(2, 9)
    assert drawn("a=int(interval(2,9))") == d.IntDistribution(2, 9)
    assert drawn("a=range(0,1,0.3)") == d.FloatDistribution(0.0, 0.9, step=0.3)
    assert drawn("a=range(32,129,32)") == d.IntDistribution(32, 128, step=32)
    assert drawn("a=range(0.5,1.0,0.25)") == d.FloatDistribution(0.5, 0.75, step=0.25)
    assert drawn("a=choice(ce,focal)") == drawn("a=ce,focal") == d.CategoricalDistribution(["ce", "focal"])


@pytest.mark.parametrize(
    "text", ["a=interval(0.9,0.3)", "a=tag(log,interval(0,1))", "a=range(10,1,-3)", "a=range(1,1,1)"]
)
def test_a_space_with_nothing_in_it_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{re.escape(text)} is nothing to search: "):
        drawn(text)


def test_values_are_typed_without_noise() -> None:
    assert [value_text(v) for v in (0.15000000000000002, 3, "ce", 1.23456e-4)] == ["0.15", "3", "ce", "0.0001235"]


@pytest.mark.parametrize(
    "values", [{"n_trials": 0}, {"seed": -1}, {"batch_size": 0}, {"objectives": {}}, {"objectives": {"a": "up"}}]
)
def test_settings_that_make_no_sense_are_refused(values: dict) -> None:
    with pytest.raises(ConfigError, match=rf"hydra\.sweeper\.{next(iter(values))}"):
        SearchConfig(**values)


def results(place) -> dict:
    return json.loads((place.sweep / "optimization_results.json").read_text())


@pytest.mark.usefixtures("quick_jobs")
def test_a_search_finds_the_best_trial_and_goes_on_to_more(place, shown: Callable[[], str]) -> None:
    assert place.train(*SMALL, "hydra.sweeper.n_trials=4") == 0
    found, jobs = results(place), place.jobs()
    scores = [job["best_val_miou"] for job in jobs]
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 4
    assert found["best"][0]["values"]["best_val_miou"] == max(scores)
    assert found["best"][0]["varied"] == jobs[scores.index(max(scores))]["varied"]
    assert "pseudo_label=softmax_global" in jobs[0]["overrides"] and "seed=5" in jobs[0]["overrides"]
    assert [job["varied"][0].split("=")[0] for job in jobs] == ["pseudo_label.threshold"] * 4
    assert len({tuple(job["varied"]) for job in jobs}) == 4
    assert "Best trial" in shown()

    assert place.train(*SMALL, "hydra.sweeper.n_trials=6", "resume=true") == 0
    assert sorted(row[0] for row in place.started()) == list("012345")  # each once; two at a time start in any order
    assert len({tuple(job["varied"]) for job in place.jobs()}) == 6  # the sampler does not start again


@pytest.mark.usefixtures("quick_jobs")
def test_the_same_seed_searches_the_same_values(place) -> None:
    for folder in ("one", "two"):
        assert place.train(*SMALL, "hydra.sweeper.n_trials=2", f"hydra.sweep.dir={folder}") == 0
    one, two = (json.loads((place.path / name / "sweep.json").read_text()) for name in ("one", "two"))
    assert [job["varied"] for job in one["jobs"]] == [job["varied"] for job in two["jobs"]]


@pytest.mark.usefixtures("quick_jobs")
def test_two_objectives_leave_those_that_nothing_beats(place, shown: Callable[[], str]) -> None:
    overrides = ["++pseudo_label.threshold=0.4,0.7", "hydra.sweeper.n_trials=6", "seed=5"]
    assert place.train("+sweep=optuna_architecture", "hydra.launcher.n_jobs=3", *overrides) == 0
    found = results(place)
    points = [(t["values"]["best_val_miou"], t["values"]["parameters"]) for t in found["trials"]]
    best = {p for p in points if not any(q[0] >= p[0] and q[1] <= p[1] and q != p for q in points)}
    assert {(t["values"]["best_val_miou"], t["values"]["parameters"]) for t in found["best"]} == best
    assert "Trials that no other beats in every objective" in shown()


@pytest.mark.usefixtures("quick_jobs")
def test_a_failed_trial_is_told_as_failed(place, shown: Callable[[], str]) -> None:
    assert place.train("hydra/sweeper=optuna", "seed=3,5", "hydra.sweeper.n_trials=4") == 1
    states = {
        job["varied"][0]: trial["state"] for job, trial in zip(place.jobs(), results(place)["trials"], strict=True)
    }
    assert states == {"seed=3": "fail", "seed=5": "complete"}
    assert "failed trials stay failed and count: resume=true with a larger hydra.sweeper.n_trials." in shown()


def test_nothing_to_search_is_said(place, shown: Callable[[], str]) -> None:
    assert place.train("hydra/sweeper=optuna", "seed=5") == 1
    assert "hydra/sweeper=optuna has nothing to search" in shown()


def test_without_optuna_the_remedy_is_said(place, shown: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert place.train(*SMALL) == 1
    assert "needs Optuna" in (text := shown()) and 'pip install -e ".[sweep]"' in text


@pytest.mark.usefixtures("quick_jobs")
def test_an_objective_that_no_summary_holds_ends_the_search_after_one_job(place, shown: Callable[[], str]) -> None:
    words = (*SMALL[:-1], "hydra.sweeper.n_trials=3", "+hydra.sweeper.objectives.best_miou=maximize")
    assert place.train(*words) == 1
    assert place.statuses() == ["finished"]
    said = shown()
    assert "hydra.sweeper.objectives.best_miou: " in said and "Did you mean best_val_miou?" in said
