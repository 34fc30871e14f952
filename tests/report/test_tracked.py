import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from semiseg.errors import SemisegError
from semiseg.files import write_json
from semiseg.report.collect import read_run
from semiseg.report.tracked import tracked_runs
from semiseg.tracking.local import MetricsFile
from semiseg.tracking.mlflow import MLflowTracker


def track(folder: Path, store: Path, artifacts: bool) -> str:
    """Log a run folder as a training does; its id."""
    run = read_run(folder)
    tracker = MLflowTracker("exp", root=store)
    tags = {"model": run.model, "seed": run.seed, "data_fingerprint": run.fingerprint, "run_folder": str(folder)}
    MetricsFile(folder / "metrics.jsonl").log({"val/precision/road": 1.0}, 1)
    tracker.start(run.name, tags, run_dir=folder)
    tracker.log_params({"seed": run.seed, "experiment_name": "exp", **run.settings})
    if artifacts:
        tracker.log_artifact(folder / "summary.json")
        tracker.log_artifact(folder / ".hydra" / "config.yaml")
    tracker.finish("FINISHED")
    assert tracker.run_id is not None
    return tracker.run_id


@pytest.fixture(scope="module")
def store(make_run, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A store with a run that is still there, one that is gone, one that left numbers alone, and a report."""
    root = tmp_path_factory.mktemp("store")
    ids = {}
    for name, artifacts in (("here", True), ("gone", True), ("numbers", False)):
        folder = make_run(root / name, seed=3, miou=0.6, overrides={"optim.lr": 0.02})
        ids[name] = track(folder, root, artifacts)
    summary = json.loads((root / "here" / "summary.json").read_text(encoding="utf-8"))
    write_json(root / "here" / "summary.json", summary | {"mlflow_run_id": ids["here"]})
    for name in ("gone", "numbers"):
        shutil.rmtree(root / name)
    report = MLflowTracker("exp", root=root)
    report.start("report", {"kind": "report"}, run_dir=root / "report")
    report.finish("FINISHED")
    return root, ids


def uri(root: Path) -> str:
    return f"sqlite:///{(root / 'mlflow.db').as_posix()}"


def test_runs_without_a_folder_are_read_from_the_store(store, tmp_path):
    root, ids = store
    runs = {run.folder.name: run for run in tracked_runs(uri(root), "exp", [], tmp_path)}
    assert runs.keys() == {"here", ids["gone"], ids["numbers"]}
    original = runs["here"]
    for name in ("gone", "numbers"):
        run = runs[ids[name]]
        assert (run.status, run.model, run.seed, run.fingerprint) == ("finished", "v3", "3", "data0")
        assert run.settings["optim.lr"] == "0.02"
        for key in ("best_val_miou", "final_val_miou", "stability"):
            assert run.number(key) == pytest.approx(original.number(key))
        assert run.history["loss/ce"].steps.tolist() == original.history["loss/ce"].steps.tolist()
        assert run.class_iou.keys() == original.class_iou.keys() and "val/precision/road" not in run.history


def test_known_runs_are_left_out_and_finished_ones_not_fetched_again(store, tmp_path):
    root, ids = store
    (run,) = tracked_runs(uri(root), "exp", [ids["here"], ids["numbers"]], tmp_path)
    kept = run.folder / "summary.json"
    kept.write_text(kept.read_text(encoding="utf-8").replace('"v3"', '"kept"'), encoding="utf-8")
    (again,) = tracked_runs(uri(root), "exp", [ids["here"], ids["numbers"]], tmp_path)
    assert again.model == "kept"


def test_a_folder_that_a_later_run_has_taken_is_not_read_for_an_earlier_one(store, tmp_path):
    root, ids = store
    others = [ids["gone"], ids["numbers"]]
    (here,) = tracked_runs(uri(root), "exp", others, tmp_path)
    assert here.folder == root / "here"
    path = root / "here" / "summary.json"
    before = path.read_text(encoding="utf-8")
    try:
        write_json(path, json.loads(before) | {"mlflow_run_id": "another"})
        (fetched,) = tracked_runs(uri(root), "exp", others, tmp_path)
    finally:
        path.write_text(before, encoding="utf-8")
    assert fetched.folder == tmp_path / ids["here"] and fetched.finished


def test_an_experiment_that_is_not_there_names_those_that_are(store, tmp_path):
    with pytest.raises(SemisegError, match=r"mlflow=other: .* has no such experiment. It has: Default, exp\."):
        tracked_runs(uri(store[0]), "other", [], tmp_path)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nothing answers on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_server_that_does_not_answer_is_one_clear_line(closed_port, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(SemisegError, match=r"127\.0\.0\.1:\d+ does not answer .*tracking\.uri=URI") as caught:
        tracked_runs(f"http://me:secret@127.0.0.1:{closed_port}", "exp", [], tmp_path)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
