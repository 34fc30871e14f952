"""summary.json as the rows of the final table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from semiseg.console import clock


def summary_rows(summary: Mapping[str, object], run_dir: Path, store: str, ui_command: str) -> dict[str, str]:
    """Name -> text of what a user looks for after a run; facts the run does not have are left out.

    `store` and `ui_command` are the tracker's `location` and `ui_command`; `summary["checkpoints"]` maps a name
    ("best", "latest") to a path.
    """
    checkpoints, class_iou = summary.get("checkpoints"), summary.get("class_iou")
    rows = {
        "val mIoU (best)": _best(summary),
        "val mIoU (final)": _text(summary.get("final_val_miou"), "{:.4f}"),
        "train/val gap": _text(summary.get("gap"), "{:.4f}"),
    }
    if isinstance(class_iou, Mapping):
        rows |= {f"IoU {name}": _text(iou, "{:.4f}") or "absent" for name, iou in class_iou.items()}
    rows |= {
        "ST pixels": _text(summary.get("st_pixels"), "{:,.0f}"),
        "ST images": _text(summary.get("st_images"), "{:,.1f}"),
        "ST coverage": _text(summary.get("st_coverage"), "{:.1%}"),
        "ST precision": _text(summary.get("st_precision"), "{:.1%}"),
        "best weights": str(checkpoints.get("best") or "") if isinstance(checkpoints, Mapping) else "",
        "MLflow store": store,
        "MLflow page": ui_command,
        "run folder": str(run_dir),
        "time": _duration(summary.get("seconds")),
    }
    return {name: text for name, text in rows.items() if text}


def _best(summary: Mapping[str, object]) -> str:
    best = _text(summary.get("best_val_miou"), "{:.4f}")
    return f"{best} at iteration {summary.get('best_step')}" if best else ""


def _text(value: object, form: str) -> str:
    """`value` in the form, or nothing for what is missing or not a number."""
    return form.format(value) if isinstance(value, int | float) and value == value else ""


def _duration(seconds: object) -> str:
    return clock(seconds) if isinstance(seconds, int | float) else ""
