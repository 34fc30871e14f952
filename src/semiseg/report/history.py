"""What a run logged over its steps, as arrays."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from semiseg.tracking.local import read_metrics


@dataclass(frozen=True)
class Series:
    """One quantity of one run."""

    steps: np.ndarray  # [n] int64, increasing
    values: np.ndarray  # [n] float64, NaN where the value was not finite


@dataclass(frozen=True)
class Curve:
    """One quantity over several seeds: their mean, and the lowest and highest of them, at each step."""

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


History = dict[str, Series]


def read_history(folder: Path) -> History:
    """Every quantity of a run's metrics.jsonl; empty where there is no such file or it cannot be read.

    A resumed run may have logged a step twice: the later line counts.
    """
    records = _read(folder / "metrics.jsonl")
    # Lines of one kind hold the same names in the same order: turned into arrays together, they are read five times
    # faster than value by value.
    kinds: dict[tuple[str, ...], list[int]] = {}
    for number, record in enumerate(records):
        kinds.setdefault(tuple(record), []).append(number)
    columns: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for names, numbers in kinds.items():
        table = _table([tuple(records[number].values()) for number in numbers])
        for name, values in zip(names, table.T, strict=True):
            columns.setdefault(name, []).append((np.array(numbers), values))
    steps = np.array([record["step"] for record in records], np.int64)
    return {name: _merged(parts, steps) for name, parts in columns.items() if name not in ("step", "time")}


def _read(path: Path) -> list[dict[str, float]]:
    """The records of a metrics.jsonl, null as None. A file without a flaw is parsed at once, in half the time."""
    try:
        lines = path.read_text(encoding="utf-8").strip().split("\n")
        records = json.loads(f"[{','.join(lines)}]")
        if all(isinstance(record, dict) and isinstance(record.get("step"), int) for record in records):
            return records
    except (OSError, ValueError):
        pass
    try:
        return read_metrics(path)
    except OSError:
        return []


def _table(rows: list[tuple[object, ...]]) -> np.ndarray:
    """[lines, names] float64; what is no number becomes NaN."""
    try:
        return np.array(rows, np.float64)
    except (TypeError, ValueError):
        return np.array([[v if isinstance(v, int | float) else np.nan for v in row] for row in rows], np.float64)


def _merged(parts: list[tuple[np.ndarray, np.ndarray]], steps: np.ndarray) -> Series:
    """One series of the lines of several kinds, in the order of the lines."""
    numbers, values = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.argsort(numbers)
    return series(steps[numbers[order]], values[order])


def series(steps: Sequence[int] | np.ndarray, values: Sequence[float] | np.ndarray) -> Series:
    """A series in the order of the steps, with one value a step: the last one given."""
    s, v = np.asarray(steps, np.int64), np.asarray(values, np.float64)
    if np.any(np.diff(s) <= 0):
        # A stable sort would do for the order; `unique` of the reversed steps gives the last line of each as well.
        s, last = np.unique(s[::-1], return_index=True)
        v = v[::-1][last]
    return Series(s, v)


def spread(several: Sequence[Series]) -> Curve:
    """Mean, lowest and highest value at each step that all of `several` have and at which one of them is finite."""
    steps = reduce(np.intersect1d, [each.steps for each in several])
    table = np.stack([each.values[np.searchsorted(each.steps, steps)] for each in several])
    known = np.isfinite(table).any(0)
    steps, table = steps[known], table[:, known]
    return Curve(steps, np.nanmean(table, 0), np.nanmin(table, 0), np.nanmax(table, 0))


def stability(values: np.ndarray) -> float | None:
    """Standard deviation of a score over the last third of its evaluations, two at least; None with fewer.

    The guides give "±0.03" without saying of what: this is our reading of it.
    """
    finite = values[np.isfinite(values)]
    last = finite[-max(2, math.ceil(len(finite) / 3)) :]
    return float(last.std(ddof=1)) if len(last) > 1 else None
