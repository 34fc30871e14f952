"""Loader processes: how they start, and what is said when one of them dies."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

import cv2

from semiseg.errors import SemisegError

TERMINAL_SIGNALS = ("SIGINT", "SIGBREAK", "SIGHUP")
SHARED_MEMORY_SIGNS = ("shared memory", "</torch_", "No space left on device", "Bus error")
FILES_SIGNS = ("Too many open files", "ancdata")
MEMORY_SIGNS = ("Cannot allocate memory", "Resource temporarily unavailable", "MemoryError", "error code: <1455>")
NO_PAGING_FILE = 1455  # of Windows, in whose language the text is
REAP_SECONDS = 2.0  # that a dying process gets to end, so that its exit status can be told

ALONE = "trainer.num_workers=0 reads the images in the training process itself"
OUT_OF_SHARED_MEMORY = (
    "The loader workers ran out of shared memory (/dev/shm), through which they hand over their batches. Raise it, in "
    f"a container with --shm-size=8g or --ipc=host, take fewer with trainer.num_workers=1, or none: {ALONE}."
)
OUT_OF_FILES = (
    "The loader workers ran out of open files. Raise the limit with `ulimit -n 8192`, take fewer with "
    f"trainer.num_workers=1, or none: {ALONE}."
)
OUT_OF_MEMORY = (
    "Memory ran out for the loader workers. Take fewer with trainer.num_workers=1, or none "
    f"({ALONE}), a smaller trainer.batch_size, or more memory."
)


def init_worker(worker_id: int) -> None:
    """One thread a worker: OpenCV would start as many as there are cores in each of them.

    Ctrl-C in a terminal, its end and the SIGTERM of a scheduler reach every process of a run. The training finishes its
    step and saves, for which it needs the workers; it stops them itself.
    """
    cv2.setNumThreads(0)
    for name in TERMINAL_SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _obey_the_next)


def _obey_the_next(number: int, frame: object) -> None:
    """The first SIGTERM may be meant for the run; a second one is meant for the worker, which has not ended by then."""
    signal.signal(number, signal.SIG_DFL)


@contextmanager
def new_workers() -> Iterator[list[BaseProcess]]:
    """Collects the processes that are started inside, and keeps SIGCHLD as it was.

    PyTorch answers that signal by raising the death of a worker wherever the training happens to be, amid a checkpoint
    for example. Without, it is noticed where the next batch is waited for, at most 5 seconds later.
    """
    on_main_thread = threading.current_thread() is threading.main_thread()
    number = getattr(signal, "SIGCHLD", None) if on_main_thread else None  # Windows has none
    handler = None if number is None else signal.getsignal(number)
    before = set(multiprocessing.active_children())
    workers: list[BaseProcess] = []
    try:
        yield workers
    finally:
        workers += [child for child in multiprocessing.active_children() if child not in before]
        if number is not None:
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def failure_of(workers: Sequence[BaseProcess], error: BaseException) -> SemisegError | None:
    """What is to be told of an error met while waiting for `workers`; None for one that has another cause."""
    text = f"{type(error).__name__}: {error}"
    for signs, message in (
        (SHARED_MEMORY_SIGNS, OUT_OF_SHARED_MEMORY),
        (FILES_SIGNS, OUT_OF_FILES),
        (MEMORY_SIGNS, OUT_OF_MEMORY),
    ):
        if any(sign in text for sign in signs):
            return SemisegError(message)
    if getattr(error, "winerror", None) == NO_PAGING_FILE:
        return SemisegError(OUT_OF_MEMORY)
    if not isinstance(error, RuntimeError | OSError | EOFError):
        return None
    for worker in workers:
        worker.join(REAP_SECONDS / len(workers))
        if worker.exitcode is not None:
            return SemisegError(_obituary(worker.pid, worker.exitcode))
    return None


def _obituary(pid: int | None, exitcode: int) -> str:
    name = signal.Signals(-exitcode).name if exitcode < 0 else None
    if name == "SIGBUS":
        return OUT_OF_SHARED_MEMORY
    if name == "SIGKILL":
        return (
            f"A loader worker (process {pid}) was killed, by the system because memory ran out or by a person. Take "
            f"fewer with trainer.num_workers=1, or none ({ALONE}), a smaller trainer.batch_size, or more memory."
        )
    how = f"crashed with {name}" if name else f"ended with status {exitcode}"
    return f"A loader worker (process {pid}) {how}. To see at which file, take none: {ALONE}."
