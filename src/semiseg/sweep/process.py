"""A job as a process of its own: what it does to memory, random states or a GPU ends with it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence

TAIL = 200  # lines of standard error that are kept
RAISED = re.compile(r"^[\w.]*(?:Error|Exception|Exit|Warning)\b")
POSIX = os.name == "posix"


class JobProcess:
    """A running training. With `attached` its console is this terminal's; otherwise its log.txt alone tells of it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], attached: bool) -> None:
        self._attached = attached
        self._tail: deque[str] = deque(maxlen=TAIL)
        sys.stdout.flush()
        # In a session of its own Ctrl-C reaches the parent alone, which passes it on once. Windows has no such thing:
        # there the terminal tells them all.
        self._process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=None if attached else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=POSIX,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._tail.append(line.rstrip())
                if self._attached:
                    with contextlib.suppress(OSError):  # whoever read it has gone; the job must not be held up
                        sys.stderr.write(line)
                        sys.stderr.flush()

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._process.poll()

    def interrupt(self) -> None:
        """Ask it to stop, as a scheduler does: Ctrl-C is ignored by what was started in the background."""
        if POSIX and self.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, with the loader processes it may have started."""
        if POSIX and self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def complaints(self) -> list[str]:
        """The last lines of its standard error, once it has ended."""
        self._reader.join(timeout=5)  # a process it left behind may hold the pipe open
        return [line for line in self._tail if line.strip()]


def failure(status: int, complaints: Sequence[str]) -> str:
    """In one line why a process ended with this status."""
    number = -status if status < 0 else status - 128 if status < 256 else 0  # those of Windows are no signals
    if number > 0:
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        hint = ": often the system's answer to memory running out" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}"
    for line in reversed(complaints):
        if line.startswith("semiseg: "):
            return line.removeprefix("semiseg: ")
    raised = [line for line in complaints if RAISED.match(line)]
    return (raised or complaints or [f"ended with status {status} and said nothing"])[-1]


def command_line(verb: str, overrides: Sequence[str], run_dir: str, flags: Sequence[str] = ()) -> list[str]:
    """The command of a job. `run_dir` is the override that says where it writes."""
    return [sys.executable, "-m", "semiseg", verb, *flags, *overrides, run_dir]


def core_count() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The GPUs that may be used, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    import torch  # two seconds, which a sweep of one job at a time does not need

    return [str(number) for number in range(torch.cuda.device_count())]


def environment(slot: int, n_jobs: int, devices: Sequence[str]) -> dict[str, str]:
    """What the job in this slot of `n_jobs` sees: its share of the cores, and one GPU where there are several."""
    mine = dict(os.environ)
    if n_jobs > 1:
        mine.setdefault("OMP_NUM_THREADS", str(max(1, core_count() // n_jobs)))
        if len(devices) > 1:
            mine["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
    return mine
