"""One process at a time, told who; and nobody is kept out by the dead."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from semiseg import run_lock
from semiseg.errors import ConfigError
from semiseg.run_lock import RunLock, alive

HOLDS = """
import sys, time, pathlib
from semiseg.run_lock import RunLock
lock = RunLock(pathlib.Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that has the lock."""
    command = [sys.executable, "-c", HOLDS, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_nothing_is_left_after_a_normal_end(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.acquire()
    assert lock.owner()["pid"] == os.getpid() and lock.owner()["host"] == socket.gethostname()
    lock.release()
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_is_told_who_has_it_and_the_dead_are_followed(tmp_path: Path) -> None:
    process = holder(tmp_path)
    with pytest.raises(ConfigError) as caught:
        RunLock(tmp_path).acquire()
    since = RunLock(tmp_path).owner()["since"]
    who = f"{tmp_path} is being written by process {process.pid} on {socket.gethostname()} since {since}. "
    assert str(caught.value).startswith(who) and "name=" in str(caught.value)
    process.kill()
    process.communicate()
    assert (tmp_path / ".owner.json").is_file()
    lock = RunLock(tmp_path)
    lock.acquire()
    assert lock.owner()["pid"] == os.getpid()
    lock.release()


def test_a_lock_without_a_living_owner_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loader processes outlive a killed training by some seconds, and hold its lock."""
    monkeypatch.setattr(run_lock, "HANDOVER", 0.2)
    process = holder(tmp_path)
    owner = {"pid": 2**22 + 1, "host": socket.gethostname(), "since": "long ago"}
    (tmp_path / ".owner.json").write_text(json.dumps(owner), encoding="utf-8")
    with pytest.raises(ConfigError, match="since long ago"):
        RunLock(tmp_path).acquire()
    process.communicate("")
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.release()


@pytest.mark.parametrize("text", ["", "no json", "[1]", "{}"])
def test_an_owner_that_cannot_be_read_is_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / ".owner.json").write_text(text, encoding="utf-8")
    lock = RunLock(tmp_path)
    assert lock.owner() == {}
    lock.acquire()
    lock.release()


def test_who_may_be_alive() -> None:
    here = socket.gethostname()
    assert alive({"host": here, "pid": os.getpid()}) and not alive({"host": here, "pid": 2**22 + 1})
    assert alive({"host": "elsewhere", "pid": 2**22 + 1}) and alive({}) and alive({"host": here, "pid": "abc"})
