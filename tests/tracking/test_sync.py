"""The verb `sync` on folders with a local store, and what it refuses. With a server: tests/faults."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from semiseg.cli import run_verb
from semiseg.files import read_json, write_json
from semiseg.run_lock import RunLock
from semiseg.tracking.local import MetricsFile
from semiseg.tracking.mirror import Mirror
from semiseg.tracking.naming import home_of
from semiseg.tracking.state import Stored, TrackingState


def make_run(folder: Path, status: str = "FINISHED", uri: str = "http://me:secret@127.0.0.1:9") -> TrackingState:
    """A run folder with two records, as a training leaves it that found no server."""
    metrics = MetricsFile(folder / "metrics.jsonl")
    for step in (1, 2):
        metrics.log({"a": float(step)}, step)
    state = TrackingState.open(folder)
    with state.changed():
        state.uri, state.root, state.experiment, state.name = uri, str(folder.parent), "sync", folder.name
        state.status, state.files, state.params = status, {"metrics.jsonl": "", "gone.png": ""}, {"seed": "0"}
    return state


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that were sent, to no store at all."""
    runs: list[str] = []
    monkeypatch.setattr(Mirror, "send", lambda self: runs.append(self.state.name))
    return runs


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def refusal(capsys: pytest.CaptureFixture[str], *typed: str) -> str:
    """The one line that `sync` ends with."""
    assert run_verb("sync", list(typed)) == 1
    error = capsys.readouterr().err
    assert error.startswith("semiseg: ") and error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        ([], ["No value for run", "run=PATH"]),
        (["run=nowhere"], ["run=nowhere: there is no such folder"]),
        (["run=empty"], ["run=empty holds no run", "no metrics.jsonl"]),
        (["run=old"], ["old has no tracking.json", "tracking=none", "older version"]),
        (["run=empty", "tracking.uri=htp://host"], ["tracking.uri=htp://host is not a store", "http://HOST:5000"]),
        (["run=empty", "trackin.uri=x"], ["no group or key 'trackin'"]),
        (["run=empty", "model=v3"], ["model is no key of this configuration", "semiseg sync --cfg job"]),
        (["run=damaged"], ["1 of 1 runs", "tracking.json cannot be read", "Mend it, or resume the run"]),
    ],
)
def test_a_mistake_is_one_line_with_a_way_out(tmp_path, capsys, typed, parts):
    (tmp_path / "empty").mkdir()
    MetricsFile(tmp_path / "old" / "metrics.jsonl").log({"a": 1.0}, 1)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "tracking.json").write_text("{", encoding="utf-8")
    text = refusal(capsys, *typed)
    assert all(part in text for part in parts), text


def test_a_server_that_does_not_answer_is_asked_once_and_named_without_its_password(tmp_path, capsys, monkeypatch):
    asked: list[str] = []
    send = Mirror.send
    monkeypatch.setattr(Mirror, "send", lambda self: (asked.append(self.state.name), send(self)))
    for name in ("a", "b", "c"):
        make_run(tmp_path / "runs" / name)
    text = refusal(capsys, "run=runs")
    assert asked == ["a"]
    assert "3 of 3 runs could not be sent" in text and "http://me:***@127.0.0.1:9: nothing answers there" in text


def test_all_runs_below_a_folder_are_sent_but_those_that_still_train(tmp_path, sent, capsys):
    for name in ("multirun/sweep/0", "multirun/sweep/1", "semiseg/first"):
        make_run(tmp_path / "runs" / name)
    lock = RunLock(tmp_path / "runs" / "semiseg" / "first")
    lock.acquire()
    assert run_verb("sync", ["run=runs"]) == 0
    assert sent == ["0", "1"]
    printed = capsys.readouterr().out
    assert "runs/multirun/sweep/0" in printed and "still running" in printed
    lock.release()
    assert run_verb("sync", ["run=runs/semiseg/first"]) == 0
    assert sent[2:] == ["first"]
    assert not (tmp_path / "runs" / "semiseg" / "first" / ".lock").exists()


@pytest.mark.parametrize(
    ("summary", "older", "status"),
    [
        (None, False, "KILLED"),
        ("finished", False, "FINISHED"),
        ("failed", False, "FAILED"),
        ("finished", True, "KILLED"),
    ],
)
def test_a_run_without_a_process_gets_the_status_that_its_folder_tells(tmp_path, sent, summary, older, status):
    """A summary of before the run was resumed tells nothing."""
    state = make_run(tmp_path / "run", "RUNNING")
    if summary:
        write_json(tmp_path / "run" / "summary.json", {"status": summary})
        if older:
            os.utime(tmp_path / "run" / "summary.json", (1, 1))
            with state.changed():
                state.opened = 2_000
    assert run_verb("sync", ["run=run"]) == 0
    after = TrackingState.read(tmp_path / "run")
    assert after is not None and after.status == status
    times = [json.loads(line)["time"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert after.ended == round(times[-1] * 1000)


def test_a_store_of_its_own_is_made_whole_and_left_alone_afterwards(tmp_path, capsys):
    from mlflow import MlflowClient

    uri = f"sqlite:///{(tmp_path / 'other' / 'store.db').as_posix()}"
    make_run(tmp_path / "run")
    write_json(tmp_path / "run" / "summary.json", {"mlflow_run_id": None})
    assert run_verb("sync", ["run=run", f"tracking.uri={uri}"]) == 0
    state = TrackingState.read(tmp_path / "run")
    assert state is not None
    run_id = state.stores[uri].run_id
    assert read_json(tmp_path / "run" / "summary.json") == {"mlflow_run_id": run_id}
    client = MlflowClient(uri)
    run = client.get_run(str(run_id))
    assert (run.info.status, run.data.params, run.data.metrics) == ("FINISHED", {"seed": "0"}, {"a": 2.0})
    assert [item.path for item in client.list_artifacts(str(run_id))] == ["metrics.jsonl"]
    assert (tmp_path / "other" / "mlartifacts").is_dir()
    capsys.readouterr()
    assert run_verb("sync", ["run=run", f"tracking.uri={uri}"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "run" in line and "FINISHED" in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == ["run", "0", "0", "FINISHED"]


def test_a_file_from_outside_the_run_folder_is_not_sent(tmp_path):
    (tmp_path / "secret.txt").write_text("x", encoding="utf-8")
    state = make_run(tmp_path / "run")
    state.files = {"../secret.txt": "", (tmp_path / "secret.txt").as_posix(): "", "metrics.jsonl": ""}
    mirror = Mirror(tmp_path / "run", state, state.uri, tmp_path)
    assert [path.name for path in mirror.unsent_files()] == ["metrics.jsonl"]


def test_artifacts_of_another_store_lie_beside_its_database(tmp_path):
    assert home_of("sqlite:////data/store.db", tmp_path) == Path("/data")
    assert home_of("postgresql://host/db", tmp_path / "runs") == tmp_path / "runs"


def test_the_state_is_read_as_it_was_written(tmp_path):
    state = make_run(tmp_path / "run")
    with state.changed():
        state.stores = {"sqlite:///x": Stored("1", {"a": "b"})}
    assert TrackingState.read(tmp_path / "run") == state
    assert TrackingState.open(tmp_path / "run").key == state.key
    anew = TrackingState.open(tmp_path / "run", anew=True)
    assert anew.former == [state.key] and anew.key != state.key and not anew.stores
    assert TrackingState.read(tmp_path) is None


def test_a_folder_that_cannot_be_written_costs_the_file_and_not_the_training(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    state = TrackingState.open(tmp_path / "file" / "run")
    with state.changed():
        state.name = "x"
    assert state.name == "x"
