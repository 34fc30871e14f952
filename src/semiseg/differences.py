"""What a run that was trained again came out with, beside the figures of the first: scores, metrics, surroundings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semiseg.tracking.local import read_metrics

SCORES = {"best_val_miou": "best val mIoU", "final_val_miou": "final val mIoU"}
ENVIRONMENT = ("git_commit", "versions", "hardware", "data_fingerprint")
CLOSE = 0.01  # of val mIoU: about what two seeds of one recipe differ by


def score_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Score -> then, now and their absolute difference; a difference of None where one run lacks the score."""
    pairs = {label: (then.get(key), now.get(key)) for key, label in SCORES.items()}
    classes = (then.get("class_iou") or {}, now.get("class_iou") or {})
    pairs |= {f"IoU {name}": (classes[0].get(name), classes[1].get(name)) for name in {**classes[0], **classes[1]}}
    return {label: {"then": a, "now": b, "difference": difference(a, b)} for label, (a, b) in pairs.items()}


def difference(then: float | None, now: float | None) -> float | None:
    """Absolute difference; 0 where neither run has the value (or both have NaN), None where one of them lacks it."""
    lacking = [value is None or math.isnan(value) for value in (then, now)]
    if any(lacking):
        return 0.0 if all(lacking) else None
    return abs(then - now)  # type: ignore[operator]


def metric_differences(then: Path, now: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Of the metrics logged at the steps of both runs those that differ: largest difference and first step with one.

    Beside it the number of steps that were compared. A loss that does not differ is listed too, with 0.
    """
    before, after = metrics_by_step(then), metrics_by_step(now)
    found: dict[str, dict[str, Any]] = {}
    shared = sorted(before.keys() & after.keys())
    for step in shared:
        for name in {**before[step], **after[step]}:
            size = difference(before[step].get(name), after[step].get(name))
            if size != 0 or name.startswith("loss/"):
                entry = found.setdefault(name, {"largest_difference": 0.0, "first_step": None})
                widen(entry, size, step)
    return found, len(shared)


def widen(entry: dict[str, Any], size: float | None, step: int) -> None:
    """Take one more difference into an entry; None, a value that one run lacks, is larger than every other."""
    if size == 0:
        return
    entry["first_step"] = step if entry["first_step"] is None else entry["first_step"]
    largest = entry["largest_difference"]
    entry["largest_difference"] = None if size is None or largest is None else max(largest, size)


def metrics_by_step(run: Path) -> dict[int, dict[str, float]]:
    """What a run logged, without the time and the memory that equal runs differ in."""
    volatile = {"step", "time", "images_per_s", "seconds_per_step", "peak_memory_mib"}
    steps: dict[int, dict[str, float]] = {}
    for record in read_metrics(run / "metrics.jsonl"):
        values = {name: value for name, value in record.items() if name not in volatile}
        steps.setdefault(int(record["step"]), {}).update(values)
    return steps


def environment_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What explains a difference: name -> [then, now] of commit, versions, hardware and data."""
    pairs: dict[str, list[Any]] = {}
    for key in ENVIRONMENT:
        before, after = then.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            pairs |= {name: [before.get(name), after.get(name)] for name in {**before, **after}}
        else:
            pairs[key] = [before, after]
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def verdict(scores: Mapping[str, Mapping[str, Any]], metrics: Mapping[str, Mapping[str, Any]], steps: int) -> str:
    """identical, within X, or different.

    X is the largest difference of the scores, or where those are equal, of the logged metrics. Different is a val mIoU
    that is off by more than `CLOSE`, and a run of which nothing can be compared.
    """
    of_scores = [row["difference"] for row in scores.values()]
    of_metrics = [row["largest_difference"] for row in metrics.values()]
    headline = [scores[label]["difference"] for label in SCORES.values()]
    if steps == 0 or any(size is None or size > CLOSE for size in headline) or None in of_scores:
        return "different"
    largest = max(of_scores, default=0.0) or max((size for size in of_metrics if size is not None), default=0.0)
    if largest == 0.0:
        return "different" if None in of_metrics else "identical"
    return f"within {rounded_up(largest)}"


def rounded_up(value: float) -> str:
    """Two digits, never less than the value."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / unit - 1e-9) * unit:.2g}"


def reproduction_rows(reproduction: Mapping[str, Any] | None) -> dict[str, str]:
    """What the table at the end says of the reproduction, label -> text; nothing for a run of its own."""
    if reproduction is None:
        return {}
    found = {"Reproduction": f"{reproduction['verdict']} (of {reproduction['of']})"}
    for label, row in reproduction["scores"].items():
        found[f"  {label}"] = f"{shown(row['now'])}, was {shown(row['then'])}: {apart(row['difference'])}"
    for name, row in reproduction["metrics"].items():
        if name.startswith("loss/"):
            since = "" if row["first_step"] is None else f", first at step {row['first_step']}"
            found[f"  {name}"] = f"{apart(row['largest_difference'])}{since}"
    found["  Steps compared"] = str(reproduction["steps_compared"])
    for name, (then, now) in reproduction["environment"].items():
        found[f"  {name}"] = f"{now}, was {then}"
    if reproduction["verdict"] != "identical" and not reproduction["deterministic"]:
        found["  Note"] = "trainer.deterministic=false: a GPU sums in another order each time"
    return found


def shown(score: float | None) -> str:
    return "none" if score is None else f"{score:.4f}"


def apart(size: float | None) -> str:
    """A difference in words."""
    if size is None:
        return "only one run has it"
    return "identical" if size == 0 else f"off by up to {rounded_up(size)}"
