"""The files of a run folder: metrics.jsonl, summary.json. They are the record that every tracker only mirrors."""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)
PAUSES = (0.05, 0.2, 1.0, 2.0, 4.0) if os.name == "nt" else ()  # seconds before a refused rename is tried again


class MetricsFile:
    """metrics.jsonl: one JSON object a line, {"step", "time", name: value, ...}, in the order of the steps.

    Every line is written out at once: it costs microseconds a `log_every` steps, and a killed process loses none.
    """

    def __init__(self, path: Path, warn: Callable[[str], None] = logger.warning) -> None:
        self.path = Path(path)
        self._warn = warn
        self._failed = self._cut = False
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Append one line. A full disk is warned of once and does not stop the training."""
        record = {"step": step, "time": round(time.time(), 3), **metrics}
        begin = "\n" if self._cut else ""  # what a full disk took of the line before ends here
        try:
            append_text(self.path, begin + json.dumps(json_ready(record), allow_nan=False) + "\n")
            self._cut = False
        except OSError as error:
            self._cut = True
            if not self._failed:
                self._warn(
                    f"{self.path} cannot be written ({error}); the training goes on without it: free some space."
                )
            self._failed = True

    def read(self) -> list[dict[str, float]]:
        """All records, oldest first."""
        return read_metrics(self.path)

    def truncate_after(self, step: int) -> None:
        """Drop the lines of later steps and a cut last line: a resumed run logs those steps again."""
        if self.path.is_file():
            lines = [json.dumps(json_ready(r)) + "\n" for r in self.read() if r["step"] <= step]
            write_text(self.path, "".join(lines))


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Records of a metrics.jsonl; a missing file has none. A line cut by a kill or a full disk is passed over.

    A value that was not finite is stored as null and read as NaN.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    records = (_parse(line) for line in text.split("\n"))
    return [r for r in records if r is not None]


class MetricsReader:
    """Reads on in a metrics.jsonl that is still written to, from `offset` bytes."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset = path, 0

    def read(self) -> tuple[list[dict[str, float]], int]:
        """The records of the lines that are complete, and the offset behind them."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return [], self.offset
        end = data.rfind(b"\n") + 1
        records = (_parse(line) for line in data[:end].decode("utf-8", errors="replace").split("\n"))
        return [r for r in records if r is not None], self.offset + end


def _parse(line: str) -> dict[str, float] | None:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError):  # the latter from a line of thousands of brackets
        return None
    if not isinstance(record, dict) or not isinstance(record.get("step"), int):
        return None
    return {name: math.nan if value is None else value for name, value in record.items()}


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
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        part.write_bytes(data)
        if durable:
            with part.open("r+b") as file:
                os.fsync(file.fileno())
        move_over(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


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
