"""Writing beside the training: what is handed over is copied, and a thread brings it to the disk."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch import Tensor

WAITING = 2  # writes that may be unfinished, each with a copy in memory; further ones wait for the oldest


class BackgroundWriter:
    """Writes one thing after another, in the order of the calls.

    What a write raises is raised by the next call, and by every one after it: nothing more is written then.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._unfinished: deque[Future[None]] = deque()
        self._failure: Exception | None = None

    def submit(self, write: Callable[[], None]) -> None:
        """Have `write` called in the thread. It must hold copies of whatever the training goes on to change."""
        self._wait(down_to=WAITING - 1)
        self._unfinished.append(self._pool.submit(self._run, write))

    def close(self) -> None:
        """Wait until all is written; it may be used again."""
        self._wait(down_to=0)

    def _wait(self, down_to: int) -> None:
        while len(self._unfinished) > down_to:
            self._unfinished[0].result()
            self._unfinished.popleft()
        if self._failure is not None:
            raise self._failure

    def _run(self, write: Callable[[], None]) -> None:
        if self._failure is None:
            try:
                write()
            except Exception as error:
                self._failure = error


Copies = dict[tuple[object, ...], Tensor]  # by place, shape and type in memory


def snapshot(value: Any, copies: Copies | None = None) -> Any:
    """A copy of nested dictionaries, lists and tensors, with the tensors in main memory.

    A tensor that occurs twice, as the weights do beside a full checkpoint, is copied once.
    """
    copies = {} if copies is None else copies
    if isinstance(value, Tensor):
        key = (value.device, value.data_ptr(), value.shape, value.stride(), value.dtype)
        if key not in copies:
            copies[key] = value.detach().to("cpu", copy=True)
        return copies[key]
    if isinstance(value, OrderedDict):  # a module's state, which carries its versions as an attribute
        copied = OrderedDict((key, snapshot(each, copies)) for key, each in value.items())
        copied.__dict__.update(value.__dict__)
        return copied
    if isinstance(value, dict):
        return {key: snapshot(each, copies) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(each, copies) for each in value)
    return value
