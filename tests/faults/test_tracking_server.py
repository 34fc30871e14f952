"""A real `mlflow server` that is absent, dies, comes back, is slow, full, or loses its answers, while a run is tracked.

Between tracker and server stands a gate, which can hold an answer back, drop it, or answer with an error.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import psutil
import pytest

from semiseg.cli import run_verb
from semiseg.files import read_json, write_json
from semiseg.tracking import mlflow as tracking
from semiseg.tracking import sender
from semiseg.tracking.local import MetricsFile
from semiseg.tracking.mlflow import MLflowTracker

BOUND = 120  # seconds after which a wait has failed, on any machine
# No counting of users, and no second process for jobs that this store has none of.
ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until something has come about."""
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@dataclass
class Server:
    """`mlflow server` with a SQLite store; killed and started again at the same address."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def database(self) -> Path:
        return self.folder / "store.db"

    def start(self) -> None:
        store = ["--backend-store-uri", f"sqlite:///{self.database.as_posix()}"]
        artifacts = ["--artifacts-destination", (self.folder / "artifacts").as_posix()]
        place = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        with (self.folder / "log.txt").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *store, *artifacts, *place],
                cwd=self.folder,
                env=os.environ | ENVIRONMENT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until(self.answers, "the server does not start")

    def answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            pytest.skip(f"mlflow server does not run here: {(self.folder / 'log.txt').read_text()[-300:]}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """At once, with its workers, as a power cut would."""
        if self.process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        self.process.kill()
        self.process.wait(BOUND)
        self.process = None

    def rows(self, question: str) -> list[tuple]:
        with contextlib.closing(sqlite3.connect(self.database)) as database:
            return sorted(database.execute(question).fetchall(), key=repr)

    def metrics(self, run: str) -> list[tuple[str, int, float]]:
        """Every value that is stored of a run, with doubles if there are any."""
        return self.rows(
            "SELECT key, step, value FROM metrics JOIN runs USING (run_uuid) WHERE lifecycle_stage = 'active' "
            f"AND runs.name = '{run}'"
        )

    def runs(self, run: str) -> list[tuple[str]]:
        """The status of each run of a name."""
        return self.rows(f"SELECT status FROM runs WHERE name = '{run}'")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that is not started yet: that takes many seconds."""
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
def server(place: Server) -> Server:
    """A server that answers."""
    if place.process is None:
        place.start()
    return place


class Gate(ThreadingHTTPServer):
    """Passes requests on to the server, unless told otherwise."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Passage)
        self.port = port
        self.open = threading.Event()  # while it is not set, answers are held back
        self.open.set()
        self.error = 0  # status to answer with instead of asking the server
        self.drop: tuple[str, bytes] | None = None  # the next request of such an address and content reaches the
        self.dropped = False  # server, and its answer is lost
        self.asked: list[tuple[str, bytes]] = []

    @property
    def address(self) -> str:
        return f"http://me:secret@127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up waiting is what is tested here."""


class Passage(BaseHTTPRequestHandler):
    server: Gate  # pyright: ignore[reportIncompatibleVariableOverride]

    def pass_on(self) -> None:
        gate, body = self.server, self.rfile.read(int(self.headers.get("Content-Length") or 0))
        gate.asked.append((self.path, body))
        if gate.error:
            return self.answer(gate.error, b"full")
        connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=BOUND)
        headers = {name: value for name, value in self.headers.items() if name not in ("Host", "Authorization")}
        connection.request(self.command, self.path, body, headers)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        if gate.drop and self.path.endswith(gate.drop[0]) and gate.drop[1] in body:
            gate.drop, gate.dropped = None, True
            self.close_connection = True
            return None
        gate.open.wait(BOUND)
        return self.answer(response.status, data)

    def answer(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = pass_on

    def log_message(self, format: str, *args: object) -> None:
        """Nothing in the terminal."""


@pytest.fixture
def gate(server: Server) -> Iterator[Gate]:
    gate = Gate(server.port)
    threading.Thread(target=gate.serve_forever, daemon=True).start()
    yield gate
    gate.open.set()
    gate.shutdown()
    gate.server_close()


@dataclass
class Tracked:
    """A run that is tracked as a training does it: its folder first, then the tracker. It never waits in between."""

    folder: Path
    uri: str
    warnings: list[str] = field(default_factory=list)

    def start(self) -> None:
        write_json(self.folder / "summary.json", {"mlflow_run_id": None})
        self.tracker = MLflowTracker("faults", uri=self.uri, root=self.folder.parent)
        self.tracker.start(self.folder.name, {"model": "v3"}, run_dir=self.folder, warn=self.warnings.append)
        self.tracker.log_params({"trainer": {"max_steps": 9}})
        assert self.tracker._sender is not None
        self.sender = self.tracker._sender

    def log(self, *steps: int) -> None:
        """An evaluation at each step."""
        for step in steps:
            values = {"loss/ce": 1 / step, "val/iou/Badan Air": step / 100}
            MetricsFile(self.folder / "metrics.jsonl").log(values, step)
            self.tracker.log_metrics(values, step)
            self.tracker.flush()

    def finish(self, status: str = "FINISHED") -> None:
        self.tracker.log_figure(np.zeros((4, 4, 3), np.uint8), "sample")
        self.tracker.log_artifact(self.folder / "summary.json")
        self.tracker.finish(status)


def wanted(steps: range) -> list[tuple[str, int, float]]:
    """What a store has to hold of these steps: each value once."""
    values = [("loss/ce", step, 1 / step) for step in steps]
    return sorted([*values, *(("val/iou/Badan Air", step, step / 100) for step in steps)], key=repr)


@pytest.fixture(autouse=True)
def short_pauses_and_long_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(sender, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(tracking, "QUIET", BOUND)


@pytest.fixture
def track(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[[str], Tracked]:
    """A tracked run named after the test."""
    monkeypatch.chdir(tmp_path)
    return lambda uri: Tracked(tmp_path / "runs" / request.node.name, uri)


def test_a_server_that_is_absent_then_there_then_killed_then_back_has_every_value_once(place, track):
    server = place
    server.kill()
    run = track(f"http://127.0.0.1:{server.port}")
    run.start()
    run.log(*range(1, 21))
    until(lambda: run.sender.failures >= 2, "nobody noticed that the server is absent")
    server.start()
    until(lambda: server.metrics(run.folder.name) == wanted(range(1, 21)), "sent when the server came")
    run.log(*range(21, 41))
    server.kill()
    run.log(*range(41, 61))
    until(lambda: run.sender.failures >= 2, "nobody noticed that the server is gone")
    run.log(61)
    server.start()
    run.finish()
    assert server.metrics(run.folder.name) == wanted(range(1, 62))
    assert server.runs(run.folder.name) == [("FINISHED",)]
    assert [text.partition(":")[0] for text in run.warnings] == ["tracking paused"]


@pytest.mark.parametrize(
    "lost",
    [
        ("runs/create", b""),
        ("runs/log-batch", b"trainer.max_steps"),
        ("runs/log-batch", b"loss/ce"),
        ("summary.json", b""),
        ("runs/update", b""),
    ],
    ids=["creation", "parameters", "metrics", "file", "status"],
)
def test_what_arrived_although_its_answer_was_lost_is_not_doubled(server, gate, track, lost):
    run = track(gate.address)
    gate.drop = lost
    run.start()
    run.log(1, 2, 3)
    run.finish()
    assert gate.dropped
    name = run.folder.name
    assert server.metrics(name) == wanted(range(1, 4))
    assert server.runs(name) == [("FINISHED",)]
    assert run.warnings == []
    bodies = [json.loads(body) for path, body in gate.asked if path.endswith("log-batch")]
    sent = [(metric["key"], metric["step"]) for body in bodies for metric in body.get("metrics", [])]
    assert len(sent) == len(set(sent)) == 6  # asked first, so that no store has to know equal values


def test_a_slow_server_holds_nothing_up_and_the_rest_is_left_to_sync(server, gate, track, monkeypatch):
    """Nothing is answered until the run is over."""
    monkeypatch.setattr(tracking, "QUIET", 0.1)
    monkeypatch.setattr(tracking, "PATIENCE", 0.2)
    gate.open.clear()
    run = track(gate.address)
    run.start()
    run.log(*range(1, 31))
    run.finish()
    assert len(gate.asked) <= 1 and run.sender.is_alive()
    slow, stopped = run.warnings
    assert "is slow: waiting" in slow and "30 records and 2 files" in slow
    assert "30 records and 2 files not sent" in stopped and f"semiseg sync run=runs/{run.folder.name[:10]}" in stopped
    assert "secret" not in slow + stopped
    gate.open.set()
    run.sender.join(BOUND)
    assert run_verb("sync", ["run=runs"]) == 0
    assert server.metrics(run.folder.name) == wanted(range(1, 31))
    assert server.runs(run.folder.name) == [("FINISHED",)]


@pytest.mark.parametrize("status", [500, 507])
def test_a_full_server_gets_everything_when_it_has_room_again(server, gate, track, status):
    run = track(gate.address)
    run.start()
    run.log(1)
    until(lambda: server.metrics(run.folder.name) == wanted(range(1, 2)), "sent at first")
    gate.error = status
    run.log(2, 3)
    until(lambda: run.sender.failures >= 2, "nobody noticed")
    run.log(4)
    gate.error = 0
    run.finish()
    assert server.metrics(run.folder.name) == wanted(range(1, 5))
    (warning,) = run.warnings
    assert f"it answers with error {status}" in warning and "secret" not in warning


def test_no_request_is_made_in_the_thread_that_trains(server, gate, track, monkeypatch):
    callers: set[str] = set()
    request = http.client.HTTPConnection.request

    def noted(*args, **kwargs):
        callers.add(threading.current_thread().name)
        return request(*args, **kwargs)

    monkeypatch.setattr(http.client.HTTPConnection, "request", noted)
    monkeypatch.setattr("urllib3.connection.HTTPConnection.request", noted)
    run = track(f"http://127.0.0.1:{server.port}")
    run.start()
    run.log(1, 2, 3)
    run.finish()
    assert callers == {"semiseg-mlflow"}


def test_sync_makes_the_run_that_never_reached_a_server_and_changes_nothing_when_repeated(server, track, capsys):
    run = track(f"http://127.0.0.1:{free_port()}")
    run.start()
    run.log(*range(1, 11))
    run.finish("FAILED")
    assert "11 records" not in run.warnings[-1] and "10 records and 2 files not sent" in run.warnings[-1]
    assert run_verb("sync", [f"run=runs/{run.folder.name}"]) == 1
    printed = capsys.readouterr()
    assert "127.0.0.1" in printed.err and "nothing answers there" in printed.err and "tracking.uri=URI" in printed.err
    assert printed.err.count("\n") == 1

    to = f"tracking.uri=http://127.0.0.1:{server.port}"
    assert run_verb("sync", ["run=runs", to]) == 0
    row = capsys.readouterr().out
    assert "10" in row and "FAILED" in row
    assert server.metrics(run.folder.name) == wanted(range(1, 11))
    assert server.runs(run.folder.name) == [("FAILED",)]
    (run_id,) = server.rows(f"SELECT run_uuid FROM runs WHERE name = '{run.folder.name}'")
    assert read_json(run.folder / "summary.json")["mlflow_run_id"] == run_id[0]
    sent = {path.name for path in (server.folder / "artifacts").rglob("*") if run_id[0] in path.parts}
    assert {"sample.png", "summary.json"} <= sent

    before = contents(server)
    assert run_verb("sync", ["run=runs", to]) == 0
    assert contents(server) == before


def contents(server: Server) -> list[str]:
    """The whole database, and when each artifact was written."""
    files = [f"{path} {path.stat().st_mtime_ns}" for path in sorted((server.folder / "artifacts").rglob("*"))]
    with contextlib.closing(sqlite3.connect(server.database)) as database:
        return [*database.iterdump(), *files]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_run_that_was_killed_is_completed_by_sync(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_dir = tmp_path / "runs" / "killed"
    code = f"""
import os, signal, sys, time
from pathlib import Path
from semiseg.run_lock import RunLock
from semiseg.tracking.local import MetricsFile
from semiseg.tracking.mlflow import MLflowTracker
run_dir = Path({str(run_dir)!r})
run_dir.mkdir(parents=True)
lock = RunLock(run_dir)
lock.acquire()
tracker = MLflowTracker("faults", uri="http://127.0.0.1:{server.port}", root=run_dir.parent)
tracker.start("killed", {{}}, run_dir=run_dir)
file = MetricsFile(run_dir / "metrics.jsonl")
for step in range(1, 1001):
    file.log({{"a": float(step)}}, step)
    tracker.flush()
    if step == 50:
        while tracker.run_id is None:
            time.sleep(0.01)
        print("ready", flush=True)
        sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline().split() == [b"ready"]
    assert run_verb("sync", ["run=runs"]) == 0  # it is left alone
    assert server.runs("killed") == [("RUNNING",)]
    child.communicate(b"go on\n")
    assert child.returncode == -signal.SIGKILL
    assert run_verb("sync", ["run=runs"]) == 0
    assert server.metrics("killed") == sorted([("a", step, float(step)) for step in range(1, 1001)], key=repr)
    assert server.runs("killed") == [("KILLED",)]
