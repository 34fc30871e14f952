"""One process at a time in a run folder."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from semiseg.errors import ConfigError
from semiseg.files import read_json, write_json

HANDOVER = 30.0  # seconds that the loader processes of a killed training need to notice and to let go of its lock


class RunLock:
    """The system's own lock on a file, which ends with its process, and beside it who holds it since when.

    Both files are gone after a normal end; those of a process that was killed are taken over.
    """

    def __init__(self, folder: Path, elsewhere: str = "name=") -> None:
        """`elsewhere` is the setting that names another folder."""
        self._path, self._owner, self._elsewhere = folder / ".lock", folder / ".owner.json", elsewhere
        self._lock = FileLock(self._path)

    def acquire(self) -> None:
        """Take the lock, or keep it. Raises ConfigError, naming the owner, where another process has it."""
        if self._lock.is_locked:
            return
        owner = self.owner()
        try:
            self._lock.acquire(timeout=0 if alive(owner) else HANDOVER)
        except Timeout:
            raise ConfigError(self._refusal(owner)) from None
        except NotImplementedError:  # a file system without locks: nothing to hold on to
            return
        write_json(self._owner, {"pid": os.getpid(), "host": socket.gethostname(), "since": now()})

    def release(self) -> None:
        """Give it up and leave no trace. Safe to call twice."""
        if not self._lock.is_locked:
            return
        for path in (self._owner, self._path):  # while it is held: a file that is removed later may be another's lock
            with suppress(OSError):  # Windows removes no open file; there the lock goes with its release
                path.unlink(missing_ok=True)
        self._lock.release()

    def owner(self) -> dict[str, Any]:
        """Who took the lock last; empty where nobody says so."""
        return read_json(self._owner)

    def _refusal(self, owner: dict[str, Any]) -> str:
        who = "another process"
        if owner:
            who = f"process {owner.get('pid')} on {owner.get('host')} since {owner.get('since')}"
        end = how_to_end(owner.get("pid"))
        return f"{self._path.parent} is being written by {who}. Wait for it, {end}, or give another {self._elsewhere}."


def how_to_end(pid: int | None) -> str:
    """What ends a training on its machine so that it can be continued."""
    if os.name == "nt" or not pid:
        return "end it with Ctrl-C in its window"
    return f"end it there with: kill -INT {pid}"


def alive(owner: dict[str, Any]) -> bool:
    """Whether the owner may still run: one on another machine cannot be asked, nor one that left no name."""
    pid = owner.get("pid")
    if owner.get("host") != socket.gethostname() or not isinstance(pid, int):
        return True
    return psutil.pid_exists(pid)


def now() -> str:
    """Local time to the second."""
    return datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
