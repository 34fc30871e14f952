"""Long arrays on their way to loader processes that are spawned, as on Windows.

A spawned process is sent its dataset through a pipe. One that dies before it has read all of that, as where its import
of PyTorch finds no memory, leaves the sender waiting for ever if the rest does not fit into the pipe. So what is long
goes through shared memory, of which the pipe carries the name alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Handle = tuple[Tensor, str]


def to_handle(array: NDArray[Any]) -> Handle:
    """A copy that PyTorch shares with a process it is pickled for; whoever made it keeps it until that has it."""
    column = np.ascontiguousarray(array)
    return torch.from_numpy(column.view(np.uint8).copy()), column.dtype.str


def from_handle(handle: Handle) -> NDArray[Any]:
    """The array."""
    bytes_, dtype = handle
    return bytes_.numpy().view(dtype)
