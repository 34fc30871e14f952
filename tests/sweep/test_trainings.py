"""Sweeps of real trainings: two at a time into one new SQLite store, and through a scheduler's launcher."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from semiseg.cli import run_verb

SMALL = (
    "data=salak", "data.encoder_weights=null", "model=lightweight", "aug=none", "trainer.max_steps=2",
    "trainer.crop_size=32", "trainer.batch_size=2", "trainer.save_latest_every=1", "trainer.num_workers=0",
    "trainer.device=cpu",
)  # fmt: skip


@pytest.fixture
def train(place, salak_root: Path) -> Callable[..., int]:
    """The exit status of `semiseg train` with these overrides."""
    return lambda *overrides: run_verb("train", [*SMALL, f"data.root='{salak_root.as_posix()}'", *overrides])


def test_parallel_jobs_share_a_new_store_and_one_can_be_continued_alone(place, train) -> None:
    from mlflow import MlflowClient

    assert train("-m", "seed=0,1", "hydra.launcher.n_jobs=2") == 0
    assert place.statuses() == ["finished", "finished"]
    summaries = [json.loads((place.sweep / name / "summary.json").read_text()) for name in ("0", "1")]
    assert [summary["warnings"] for summary in summaries] == [[], []]
    assert [summary["sweep"] for summary in summaries] == [place.sweep.name] * 2

    client = MlflowClient(f"sqlite:///{(place.path / 'runs' / 'mlflow.db').as_posix()}")
    runs = client.search_runs([client.get_experiment_by_name("semiseg").experiment_id])
    assert {run.info.run_name for run in runs} == {"lightweight seed=0", "lightweight seed=1"}
    assert {run.data.tags["sweep"] for run in runs} == {place.sweep.name}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert not any("mlflow.parentRunId" in run.data.tags for run in runs)

    job = f"runs/multirun/{place.sweep.name}/1"
    assert train("resume=true", f"hydra.run.dir={job}", "trainer.max_steps=3") == 0
    assert json.loads((place.path / job / "summary.json").read_text())["steps"] == 3


@pytest.mark.skipif(find_spec("submitit") is None, reason="the extra `slurm` is not installed")
def test_a_schedulers_launcher_runs_the_jobs_and_loses_none(place, train) -> None:
    assert train("-m", "hydra/launcher=submitit_local", "seed=0,-1", "tracking=none") == 1
    assert place.statuses() == ["finished", "failed"]
    assert "seed is -1" in place.jobs()[1]["error"]
    assert (place.sweep / "0" / "summary.json").is_file()
