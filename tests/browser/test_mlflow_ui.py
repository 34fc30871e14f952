"""MLflow's own page, served from a store that the tracker has written: the runs with the columns that matter."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from semiseg.tracking.local import MetricsFile
from semiseg.tracking.mlflow import MLflowTracker

START, SECONDS = 120, 60  # bounds for the server, whose imports alone take many seconds, and for its page
RUNS = {"v1-seed0": 0.412, "v3-seed0": 0.568}
# No counting of users, and no second process for jobs that this store has none of.
ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Address of a store with two runs, and the page of its UI that the tracker names."""
    root = tmp_path_factory.mktemp("store")
    for name, miou in RUNS.items():
        tracker = MLflowTracker("systems", root=root)
        metrics = MetricsFile(root / name / "metrics.jsonl")
        tracker.start(name, {"model": name[:2], "seed": "0"}, run_dir=root / name)
        for step, part in ((10, 0.5), (20, 1.0)):
            metrics.log({"val/miou": miou * part, "best/val_miou": miou * part, "gap": 0.03}, step)
        tracker.finish("FINISHED")
    return f"sqlite:///{(root / 'mlflow.db').as_posix()}", tracker.ui_page


@pytest.fixture(scope="module")
def server(browser: Any, store: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of `mlflow ui` on a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store[0], "--host", "127.0.0.1"]
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--workers", "1"],
            cwd=folder,
            env=os.environ | ENVIRONMENT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(address, process, folder / "log.txt")
            yield address
        finally:
            stop(process)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"mlflow ui did not answer within {START} s: {log.read_text(encoding='utf-8')}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server with its workers."""
    if process.poll() is None:
        for each in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    process.kill()
    process.wait(10)


def test_the_table_shows_the_runs_by_name_with_their_metrics(browser, server, store, console):
    browser.get(store[1].replace("http://127.0.0.1:5000", server))
    wanted = {*RUNS, "best/val_miou", "gap", *map(str, RUNS.values())}
    deadline = time.monotonic() + SECONDS
    missing, text = wanted, ""
    while missing and time.monotonic() < deadline:
        text = browser.find_element("tag name", "body").text
        missing = {word for word in wanted if word not in text}
        time.sleep(0.2)
    assert not missing, f"not on MLflow's page: {missing}"
    assert text.index("v3-seed0") < text.index("v1-seed0")  # the best first
    assert not [line for line in console() if "Uncaught" in line]
