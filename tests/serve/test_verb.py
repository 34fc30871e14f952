"""`semiseg serve` as a process: where it listens, how it ends, and what it refuses."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.evaluation.conftest import run_verb
from tests.registry.conftest import write_run

from semiseg.serve import ServeConfig, address_of

if find_spec("gradio") is None:  # looked for and not imported, which takes seconds of every test process
    pytest.skip('gradio is not installed: pip install -e ".[serve]"', allow_module_level=True)
SECONDS = 120


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("served") / "first")


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process")
def test_it_serves_this_machine_alone_and_ends_with_one_line(run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "semiseg", "serve", f"run={run.as_posix()}", "port=0", "open=false", "device=cpu"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.fullmatch(r"Serving lightweight/first at (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n", line)
        assert match, line + process.stdout.read()
        with urllib.request.urlopen(match[1], timeout=SECONDS) as answer:
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            assert "palm" in answer.read().decode()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.wait(10)
    assert (process.returncode, rest) == (0, "Stopped.\n")
    assert not list(tmp_path.glob("semiseg-*"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("port=70000", "ports go up to 65535"),
        ("port=-1", "port"),
        ("host=203.0.113.7", "host=203.0.113.7 port=7860 cannot be served"),
        ("stretch=[5,1]", "stretch"),
        ("device=gpu", "device"),
        ("device=cpu:", "device"),
    ],
)
def test_a_mistake_is_one_message(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, override: str, said: str
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert run_verb("serve", f"run={run.as_posix()}", "open=false", override) == 1
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1


def test_a_port_that_is_taken_is_named(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run_verb("serve", f"run={run.as_posix()}", "open=false", f"port={port}") == 1
    assert f"port={port} cannot be served" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "local"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("pc", False)]
)
def test_who_can_reach_it(host: str, local: bool) -> None:
    assert ServeConfig(run="x", host=host).local is local


def test_the_address_is_one_that_a_browser_opens() -> None:
    assert address_of("0.0.0.0", 7860) == "http://127.0.0.1:7860/"
    assert address_of("::1", 80) == "http://[::1]:80/"
