"""The files of a run folder: metrics.jsonl, summary.json. They are the record that every tracker only mirrors."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from semiseg.files import append_text, json_ready, write_text

logger = logging.getLogger(__name__)


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
