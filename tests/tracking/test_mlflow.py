import contextlib
import json
import multiprocessing
import socket
import sqlite3
import subprocess
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from semiseg.tracking import mlflow as tracking
from semiseg.tracking.mlflow import MLflowTracker


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """One store for the module, as creating it takes seconds; the space is what a Windows user's path may have."""
    return tmp_path_factory.mktemp("my runs")


@pytest.fixture
def tracker(root, monkeypatch, tmp_path) -> MLflowTracker:
    monkeypatch.chdir(tmp_path)  # what MLflow would leave in the working directory lands here
    return MLflowTracker("experiment", root=root)


def client(root: Path):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{(root / 'mlflow.db').as_posix()}")


def history(root: Path, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client(root).get_metric_history(run_id, name)]


def test_a_run_is_mirrored_whole_and_leaves_nothing_elsewhere(tracker, root, tmp_path, capfd):
    source = root / "notes.txt"
    source.write_text("text", encoding="utf-8")
    tracker.start("v3-seed0", {"sweep": "a"})
    tracker.log_params({"trainer": {"max_steps": 200}, "many": {f"k{i}": i for i in range(150)}, "long": "y" * 9000})
    tracker.log_metrics({"val/iou/Snake Fruit": 0.5, "st/precision": float("nan"), "a+b": 1.0}, 10)
    tracker.log_artifact(source, "files")
    tracker.log_figure(np.zeros((8, 8, 3), np.uint8), "samples/step 10")
    tracker.finish("FINISHED")

    run = client(root).get_run(tracker.run_id)
    assert (run.info.status, run.info.run_name, run.data.tags["sweep"]) == ("FINISHED", "v3-seed0", "a")
    assert run.data.params["trainer.max_steps"] == "200" and run.data.params["many.k149"] == "149"
    assert run.data.params["long"].endswith("(cut, 9000 characters)")
    assert run.data.metrics == {"val/iou/Snake Fruit": 0.5, "a_b": 1.0}
    files = {p.name for p in (root / "mlartifacts").rglob("*") if p.is_file()}
    assert files == {"notes.txt", "step 10.png"}
    assert list(tmp_path.iterdir()) == []
    assert "".join(capfd.readouterr()) == ""  # no migration notes, no links


def test_metrics_wait_for_a_flush_and_a_step_is_never_split(tracker, root, monkeypatch):
    monkeypatch.setattr(tracking, "FLUSH_AT", 4)
    tracker.start("buffered", {})
    tracker.log_metrics({"a": 1.0, "b": 1.0, "c": 1.0}, 1)
    tracker.log_metrics({"d": 1.0, "e": 1.0}, 1)
    assert client(root).get_run(tracker.run_id).data.metrics == {}
    tracker.log_metrics({"a": 2.0}, 2)
    run = client(root).get_run(tracker.run_id)
    assert run.data.metrics == dict.fromkeys("abcde", 1.0) and run.data.tags[tracking.LOGGED_STEP] == "1"
    tracker.flush()
    assert history(root, tracker.run_id, "a") == [(1, 1.0), (2, 2.0)]


def test_more_metrics_than_one_call_takes(tracker, root):
    tracker.start("many", {})
    for step in range(3):
        tracker.log_metrics({f"m{i}": step for i in range(700)}, step)
    tracker.finish("FINISHED")
    assert history(root, tracker.run_id, "m699") == [(0, 0), (1, 1), (2, 2)]


def test_resuming_goes_on_in_the_same_run_and_logs_nothing_twice(tracker, root):
    tracker.start("resumed", {})
    tracker.log_params({"trainer": {"max_steps": 20}, "seed": 0})
    for step in (10, 20):
        tracker.log_metrics({"loss": step / 10}, step)
    tracker.finish("KILLED")
    assert client(root).get_run(tracker.run_id).info.status == "KILLED"

    again = MLflowTracker("experiment", root=root)
    again.start("resumed", {}, run_id=tracker.run_id)
    assert again.run_id == tracker.run_id and client(root).get_run(tracker.run_id).info.status == "RUNNING"
    again.log_params({"trainer": {"max_steps": 40}, "seed": 0, "new": 1})
    for step in (20, 30):  # 20 is replayed
        again.log_metrics({"loss": step / 10}, step)
    again.finish("FINISHED")

    run = client(root).get_run(tracker.run_id)
    assert history(root, tracker.run_id, "loss") == [(10, 1.0), (20, 2.0), (30, 3.0)]
    assert run.data.params == {"trainer.max_steps": "20", "seed": "0", "new": "1"}
    assert run.data.tags["resumed.trainer.max_steps"] == "40" and "resumed.seed" not in run.data.tags
    assert run.info.status == "FINISHED"


def test_a_run_the_store_has_lost_is_replaced_with_a_warning(tracker):
    warnings: list[str] = []
    tracker.start("lost", {}, run_id="0" * 32, warn=warnings.append)
    assert tracker.run_id not in (None, "0" * 32) and "no longer" in warnings[0]


def test_the_first_failure_ends_the_tracking_with_one_warning(tracker, monkeypatch):
    warnings: list[str] = []
    tracker.start("full disk", {}, run_dir=Path("runs/x"), warn=warnings.append)
    calls: list[int] = []

    def fail(*_, **__):
        calls.append(1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tracker._client, "log_batch", fail)
    for step in range(3):
        tracker.log_metrics({"a": 1.0}, step)
        tracker.flush()
    tracker.log_params({"a": 1})
    tracker.finish("FINISHED")
    record = Path("runs/x") / "metrics.jsonl"
    assert warnings == [f"tracking stopped: OSError: [Errno 28] No space left on device; metrics are in {record}"]
    assert len(calls) == 1


def test_a_server_that_is_gone_or_silent_does_not_stop_the_run(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"http://me:secret@127.0.0.1:{silent.getsockname()[1]}"
        for listening in (False, True):  # refused, then accepted and never answered
            if listening:
                silent.listen()
            warnings: list[str] = []
            tracker = MLflowTracker("experiment", uri=address)
            tracker.start("run", {}, warn=warnings.append)
            tracker.log_metrics({"a": 1.0}, 1)
            tracker.finish("FINISHED")
            assert len(warnings) == 1 and "tracking stopped" in warnings[0] and "secret" not in warnings[0]
            assert tracker.run_id is None


def test_location_and_page_can_be_pasted(tracker, root):
    assert tracker.location == (root / "mlflow.db").as_posix()
    assert tracker.ui_command == f'mlflow ui --backend-store-uri "sqlite:///{(root / "mlflow.db").as_posix()}"'
    server = MLflowTracker("experiment", uri="http://me:secret@host:5000")
    assert server.location == server.ui_command == "http://me:***@host:5000"


def test_the_page_of_an_experiment_opens_with_the_columns_that_matter(tracker, root):
    assert tracker.ui_page == ""
    tracker.start("run", {})
    tracker.finish("FINISHED")
    experiment = client(root).get_experiment_by_name("experiment")
    assert (
        tracker.ui_page
        == f"http://127.0.0.1:5000/#/experiments/{experiment.experiment_id}/runs?viewStateShareKey=semiseg"
    )
    assert "metrics.`best/val_miou`" in json.loads(experiment.tags["mlflow.sharedViewState.semiseg"])["selectedColumns"]


def test_an_experiment_of_another_program_gets_the_columns_too(tracker, root):
    client(root).create_experiment("older")
    older = MLflowTracker("older", root=root)
    older.start("run", {})
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
    tracker.start(f"run{number}", {})
    tracker.log_metrics({"a": float(number)}, 1)
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
