import contextlib
import json
import multiprocessing
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from semiseg.tracking import sender
from semiseg.tracking.local import MetricsFile, read_metrics
from semiseg.tracking.mirror import Mirror
from semiseg.tracking.mlflow import MLflowTracker


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """One store for the module, as creating it takes seconds; the space is what a Windows user's path may have."""
    return tmp_path_factory.mktemp("my runs")


@pytest.fixture
def tracker(root, monkeypatch, tmp_path) -> MLflowTracker:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # what MLflow would leave in the working directory lands here
    return MLflowTracker("experiment", root=root)


@pytest.fixture
def run_dir(tmp_path) -> Path:
    """The folder of a run, with a space as a Windows user's path may have."""
    return tmp_path / "a run"


def client(root: Path):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{(root / 'mlflow.db').as_posix()}")


def history(root: Path, run_id: str | None, name: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client(root).get_metric_history(str(run_id), name)]


def log(tracker: MLflowTracker, run_dir: Path, values: dict[str, float], step: int) -> None:
    """As a training does: the file first."""
    MetricsFile(run_dir / "metrics.jsonl").log(values, step)
    tracker.log_metrics(values, step)


def test_a_run_is_mirrored_whole_and_leaves_nothing_elsewhere(tracker, root, run_dir, capfd):
    tracker.start("v3-seed0", {"sweep": "a"}, run_dir=run_dir)
    source = run_dir / "notes.txt"
    source.write_text("text", encoding="utf-8")
    tracker.log_params({"trainer": {"max_steps": 200}, "many": {f"k{i}": i for i in range(150)}, "long": "y" * 9000})
    log(tracker, run_dir, {"val/iou/Snake Fruit": 0.5, "st/precision": float("nan"), "a+b": 1.0}, 10)
    tracker.log_artifact(source, "files")
    tracker.log_figure(np.zeros((8, 8, 3), np.uint8), "samples/step 10")
    tracker.finish("FINISHED")

    run = client(root).get_run(tracker.run_id)
    assert (run.info.status, run.info.run_name, run.data.tags["sweep"]) == ("FINISHED", "v3-seed0", "a")
    assert run.data.params["trainer.max_steps"] == "200" and run.data.params["many.k149"] == "149"
    assert run.data.params["long"].endswith("(cut, 9000 characters)")
    assert run.data.metrics == {"val/iou/Snake Fruit": 0.5, "a_b": 1.0}
    files = {p.relative_to(root).parts[-2:] for p in (root / "mlartifacts").rglob("*") if p.is_file()}
    assert files == {("files", "notes.txt"), ("samples", "step 10.png")}
    assert list(Path().iterdir()) == []
    assert "".join(capfd.readouterr()) == ""  # no migration notes, no links


def test_a_password_in_the_settings_is_not_shown_in_the_store(tracker, root, run_dir):
    tracker.start("secret", {}, run_dir=run_dir)
    tracker.log_params({"tracking": {"uri": "http://me:secret@host"}})
    tracker.finish("FINISHED")
    assert client(root).get_run(tracker.run_id).data.params == {"tracking.uri": "http://me:***@host"}


def test_metrics_carry_the_time_at_which_they_were_logged(tracker, root, run_dir):
    tracker.start("timed", {}, run_dir=run_dir)
    log(tracker, run_dir, {"a": 1.0}, 1)
    tracker.finish("FINISHED")
    (metric,) = client(root).get_metric_history(tracker.run_id, "a")
    (record,) = read_metrics(run_dir / "metrics.jsonl")
    assert metric.timestamp == round(record["time"] * 1000)
    run = client(root).get_run(tracker.run_id)
    assert run.info.start_time <= metric.timestamp <= run.info.end_time


def test_more_metrics_than_one_call_takes(tracker, root, run_dir):
    tracker.start("many", {}, run_dir=run_dir)
    for step in range(3):
        log(tracker, run_dir, {f"m{i}": step for i in range(700)}, step)
    tracker.finish("FINISHED")
    assert history(root, tracker.run_id, "m699") == [(0, 0), (1, 1), (2, 2)]


def test_resuming_goes_on_in_the_same_run_and_logs_nothing_twice(tracker, root, run_dir):
    tracker.start("resumed", {"git_commit": "a"}, run_dir=run_dir)
    tracker.log_params({"trainer": {"max_steps": 20}, "seed": 0})
    for step in (10, 20):
        log(tracker, run_dir, {"loss": step / 10}, step)
    tracker.finish("KILLED")
    assert client(root).get_run(tracker.run_id).info.status == "KILLED"

    again = MLflowTracker("experiment", root=root)
    again.start("resumed", {"git_commit": "b"}, run_dir=run_dir)
    assert again.run_id == tracker.run_id and client(root).get_run(tracker.run_id).info.status == "RUNNING"
    again.log_params({"trainer": {"max_steps": 40}, "seed": 0, "new": 1})
    MetricsFile(run_dir / "metrics.jsonl").truncate_after(10)  # the checkpoint was of step 10
    for step in (20, 30):  # 20 is replayed, with another time
        log(again, run_dir, {"loss": step / 10}, step)
    again.finish("FINISHED")

    run = client(root).get_run(tracker.run_id)
    assert history(root, tracker.run_id, "loss") == [(10, 1.0), (20, 2.0), (30, 3.0)]
    assert run.data.params == {"trainer.max_steps": "20", "seed": "0", "new": "1"}
    assert run.data.tags["resumed.trainer.max_steps"] == "40" and "resumed.seed" not in run.data.tags
    assert run.data.tags["git_commit"] == "b" and run.info.status == "FINISHED"


def test_a_run_that_an_older_version_began_is_found_by_the_id_of_its_checkpoint(tracker, root, run_dir):
    tracker.start("older", {}, run_dir=run_dir)
    log(tracker, run_dir, {"a": 1.0}, 1)
    tracker.finish("KILLED")
    (run_dir / "tracking.json").unlink()
    again = MLflowTracker("experiment", root=root)
    again.start("older", {}, run_dir=run_dir, run_id=tracker.run_id)
    log(again, run_dir, {"a": 2.0}, 2)
    again.finish("FINISHED")
    assert again.run_id == tracker.run_id and history(root, tracker.run_id, "a") == [(1, 1.0), (2, 2.0)]


def test_a_run_the_store_has_lost_is_made_again_whole_with_a_warning(tracker, root, run_dir):
    tracker.start("lost", {}, run_dir=run_dir)
    log(tracker, run_dir, {"a": 1.0}, 1)
    tracker.finish("KILLED")
    client(root).delete_run(tracker.run_id)
    warnings: list[str] = []
    again = MLflowTracker("experiment", root=root)
    again.start("lost", {}, run_dir=run_dir, warn=warnings.append)
    again.finish("FINISHED")
    assert again.run_id != tracker.run_id and history(root, again.run_id, "a") == [(1, 1.0)]
    assert len(warnings) == 1 and f"{tracker.run_id} is no longer in" in warnings[0]


@pytest.mark.parametrize("emptied", [False, True])
def test_a_run_that_is_started_anew_is_one_row_with_the_new_numbers(root, run_dir, emptied):
    """A sweep empties the folder of a job that had no checkpoint; another run keeps its tracking.json."""
    tags = {"run_folder": str(run_dir)} | ({"sweep": "sweep-1"} if emptied else {})
    for attempt in (1, 2):
        if emptied:
            shutil.rmtree(run_dir, ignore_errors=True)
        tracker = MLflowTracker(f"anew {emptied}", root=root)
        tracker.start("job", tags, run_dir=run_dir, anew=True)
        MetricsFile(run_dir / "metrics.jsonl").truncate_after(0)
        log(tracker, run_dir, {"a": float(attempt)}, 1)
        tracker.finish("KILLED")
    assert rows(root, f"anew {emptied}") == {tracker.run_id: "KILLED"}
    assert history(root, tracker.run_id, "a") == [(1, 2.0)]


def test_an_earlier_attempt_that_was_evaluated_is_kept(root, run_dir):
    first, second = MLflowTracker("kept", root=root), MLflowTracker("kept", root=root)
    for tracker in (first, second):
        tracker.start("job", {"run_folder": str(run_dir)}, run_dir=run_dir, anew=True)
        MetricsFile(run_dir / "metrics.jsonl").truncate_after(0)
        log(tracker, run_dir, {"best/val_miou": 0.5}, 1)
        tracker.finish("FAILED" if tracker is first else "FINISHED")
    assert rows(root, "kept") == {first.run_id: "KILLED", second.run_id: "FINISHED"}


def rows(root: Path, experiment: str) -> dict[str, str]:
    """The table of an experiment: status by run."""
    found = client(root).get_experiment_by_name(experiment)
    return {run.info.run_id: run.info.status for run in client(root).search_runs([found.experiment_id])}


def test_no_call_but_the_first_of_a_file_is_made_in_the_calling_thread(tracker, run_dir, monkeypatch):
    """With a server not even that one: tests/faults/test_tracking_server.py."""
    tracker.start("threads", {}, run_dir=run_dir)
    callers: list[str] = []
    monkeypatch.setattr(Mirror, "send", lambda self: callers.append(threading.current_thread().name))
    monkeypatch.setattr(Mirror, "complete", True)
    for step in range(3):
        log(tracker, run_dir, {"a": 1.0}, step)
        tracker.flush()
    tracker.finish("FINISHED")
    assert set(callers) == {"semiseg-mlflow"}


def test_a_store_that_fails_is_told_of_twice_at_most_and_keeps_what_it_has(tracker, root, run_dir, monkeypatch):
    """Once when it is seen, and at the end with what to type."""
    monkeypatch.setattr(sender, "FIRST_PAUSE", 0.0)
    warnings: list[str] = []
    tracker.start("full disk", {}, run_dir=run_dir, warn=warnings.append)

    def fail(*_, **__):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("mlflow.MlflowClient.log_batch", fail)
    for step in range(3):
        log(tracker, run_dir, {"a": 1.0}, step)
        tracker.flush()
    tracker.finish("FINISHED")
    end = warnings[-1]
    assert end.startswith(f"tracking stopped: 3 records not sent to {tracker.location}: no space left there")
    assert str(run_dir / "metrics.jsonl") in end and 'semiseg sync "run=' in end
    assert len(warnings) <= 3 and "no space left there" in end


def test_a_database_that_is_full_for_a_while_has_everything_in_the_end(tracker, root, run_dir, monkeypatch):
    """SQLite's own limit on the size of its file, taken away again."""
    from sqlalchemy import event
    from sqlalchemy.pool import Pool

    monkeypatch.setattr(sender, "FIRST_PAUSE", 0.01)
    warnings: list[str] = []
    tracker.start("small disk", {}, run_dir=run_dir, warn=warnings.append)
    pages = [1]

    def limit(connection, *_):
        connection.execute(f"PRAGMA max_page_count = {pages[0]}")

    event.listen(Pool, "checkout", limit)
    try:
        for step in range(200):
            log(tracker, run_dir, {f"m{i}": float(step) for i in range(20)}, step)
            tracker.flush()
        until(lambda: tracker._sender.failures >= 2)
        tracker.flush()
        pages[0] = 1_000_000
        tracker.finish("FINISHED")
    finally:
        event.remove(Pool, "checkout", limit)
    assert history(root, tracker.run_id, "m19") == [(step, float(step)) for step in range(200)]
    assert "no space left there" in warnings[0] and not any("stopped" in text for text in warnings)


def test_several_runs_write_to_one_database_without_an_error(root, tmp_path):
    warnings: list[str] = []
    trackers = [MLflowTracker("several", root=root) for _ in range(6)]
    folders = [tmp_path / str(number) for number in range(6)]
    for tracker, folder in zip(trackers, folders, strict=True):
        tracker.start(folder.name, {}, run_dir=folder, warn=warnings.append)
    for step in range(50):
        for tracker, folder in zip(trackers, folders, strict=True):
            log(tracker, folder, {f"m{i}": float(step) for i in range(10)}, step)
            tracker.flush()
    for tracker in trackers:
        tracker.finish("FINISHED")
        assert history(root, tracker.run_id, "m9") == [(step, float(step)) for step in range(50)]
    assert warnings == []


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_server_that_is_gone_or_silent_does_not_stop_the_run(run_dir, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(sender, "FIRST_PAUSE", 0.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"http://me:secret@127.0.0.1:{silent.getsockname()[1]}"
        for listening, told in ((False, "nothing answers there"), (True, "no answer in time")):
            if listening:
                silent.listen()
            warnings: list[str] = []
            tracker = MLflowTracker("experiment", uri=address)
            tracker.start("run", {}, run_dir=run_dir, warn=warnings.append)
            log(tracker, run_dir, {"a": 1.0}, 1 + listening)
            tracker.finish("FINISHED")
            assert f"{1 + listening} records not sent to" in warnings[-1] and told in warnings[-1]
            assert "secret" not in "".join(warnings)
            assert tracker.run_id is None


def test_location_and_page_can_be_pasted(tracker, root):
    assert tracker.location == (root / "mlflow.db").as_posix()
    assert tracker.ui_command == f'mlflow ui --backend-store-uri "sqlite:///{(root / "mlflow.db").as_posix()}"'
    server = MLflowTracker("experiment", uri="http://me:secret@host:5000")
    assert server.location == server.ui_command == "http://me:***@host:5000"


def test_the_page_of_an_experiment_opens_with_the_columns_that_matter(tracker, root, run_dir):
    assert tracker.ui_page == ""
    tracker.start("run", {}, run_dir=run_dir)
    tracker.finish("FINISHED")
    experiment = client(root).get_experiment_by_name("experiment")
    assert (
        tracker.ui_page
        == f"http://127.0.0.1:5000/#/experiments/{experiment.experiment_id}/runs?viewStateShareKey=semiseg"
    )
    assert "metrics.`best/val_miou`" in json.loads(experiment.tags["mlflow.sharedViewState.semiseg"])["selectedColumns"]


def test_an_experiment_of_another_program_gets_the_columns_too(tracker, root, run_dir):
    client(root).create_experiment("older")
    older = MLflowTracker("older", root=root)
    older.start("run", {}, run_dir=run_dir)
    older.finish("FINISHED")
    assert "mlflow.sharedViewState.semiseg" in client(root).get_experiment_by_name("older").tags


def test_mlflow_is_not_imported_before_a_run_is_tracked():
    code = (
        "import sys; from semiseg.tracking.mlflow import MLflowTracker; "
        "MLflowTracker('e'); print('mlflow' in sys.modules)"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert child.stdout.split() == ["False"], child.stderr


def track_one(root: Path, number: int, together: Barrier) -> None:
    import mlflow  # noqa: F401  (its second of import would set the processes apart)

    tracker = MLflowTracker("shared", root=root)
    together.wait(120)
    tracker.start(f"run{number}", {}, run_dir=root / f"run{number}")
    log(tracker, root / f"run{number}", {"a": float(number)}, 1)
    tracker.finish("FINISHED")


def test_processes_that_create_the_store_at_once_do_not_corrupt_it(tmp_path):
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    processes = [context.Process(target=track_one, args=(tmp_path, number, together)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT count(*) FROM runs WHERE status = 'FINISHED'").fetchone() == (2,)
        assert database.execute("SELECT count(*) FROM experiments WHERE name = 'shared'").fetchone() == (1,)
