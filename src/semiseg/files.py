"""Files that are there whole or not at all, and the JSON that most of them hold."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

PAUSES = (0.05, 0.2, 1.0, 2.0, 4.0) if os.name == "nt" else ()  # seconds before a refused rename is tried again


def json_ready(value: object) -> object:
    """`value` with NumPy numbers, paths and tuples as plain JSON types; NaN and infinities become null."""
    if isinstance(value, Mapping):
        return {str(k): json_ready(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return json_ready(value.tolist())
    if isinstance(value, list | tuple | set):
        return [json_ready(v) for v in value]
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; empty where the file is missing or damaged, or holds something else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def write_json(path: Path, data: Mapping[str, object], durable: bool = False) -> None:
    """Write a JSON file whole or not at all, as `write_text`. NaN and infinities become null, paths become text."""
    write_text(path, json.dumps(json_ready(data), indent=2, allow_nan=False, ensure_ascii=False) + "\n", durable)


def write_text(path: Path, text: str, durable: bool = False) -> None:
    """Replace a UTF-8 file in one step: whoever reads it sees the old text or the new, never a part.

    A `durable` one is so even after a power cut, which costs the wait for the disk.
    """
    # A file name that is no valid Unicode must not lose the summary of a run: JSON reads "\\udcff" back.
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"), durable)


def write_bytes(path: Path, data: bytes, durable: bool = False) -> None:
    """Replace a file in one step; `durable` as for `write_text`."""
    write_atomically(path, lambda file: file.write(data), durable)


def write_atomically(path: Path, write: Callable[[IO[bytes]], object], durable: bool = False) -> None:
    """Replace a file by what `write` puts into the open one that it is given; `durable` as for `write_text`.

    Raises what `write` raises, and OSError; the old file is then untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name may be as long as one can be, and its end tells the part from others.
    part = path.with_name(f"{path.name[:40]}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with part.open("wb") as file:
            write(file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        move_over(part, path)
    finally:
        part.unlink(missing_ok=True)


def move_over(new: Path, path: Path) -> None:
    """Put a finished file in the place of another. Windows refuses that while anything has one of them open, be it a
    reader or a virus scanner: there it is tried again for some seconds. Raises OSError, as `Path.replace`.
    """
    for pause in PAUSES:
        try:
            new.replace(path)
            return
        except PermissionError:
            time.sleep(pause)
    new.replace(path)


def append_text(path: Path, text: str) -> None:
    """Append to a UTF-8 file. It is opened each time (50 microseconds): no handle outlives a failure or a rename."""
    with path.open("a", encoding="utf-8", newline="\n", errors="replace") as file:
        file.write(text)
