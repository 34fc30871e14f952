"""What a run leaves behind in numbers: `summary.json`, and the table at its end."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from semiseg import __version__
from semiseg.run_folder import git_commit
from semiseg.tracking.base import Tracker

if TYPE_CHECKING:
    from semiseg.train import Run


def summarise(run: Run, status: str) -> dict[str, Any]:
    """`summary.json`: what was run, on what, and what came out."""
    config, engine = run.config, run.engine
    return {
        "status": status,
        "name": run.folder.path.name,
        "experiment": config.experiment_name,
        "model": config.model.name,
        "choices": {group: word for group, word in run.choices.items() if not group.startswith("hydra")},
        "seed": config.seed,
        "num_classes": run.bundle.classes.num_classes,
        "parameters": sum(p.numel() for p in run.method.student.parameters()),
        "steps": engine.step,
        "total_steps": engine.total_steps,
        **run.recorder.figures(),
        "checkpoints": sorted(path.name for path in run.folder.checkpoints.glob("*.pth")),
        "best_weights": str(engine.checkpoints.best),
        "warnings": run.console.warnings,
        **provenance(run),
    }


def provenance(run: Run) -> dict[str, Any]:
    """Where the numbers come from."""
    return {
        "mlflow_run_id": run.tracker.run_id,
        "data_fingerprint": run.bundle.fingerprint(),
        "git_commit": git_commit(),
        "command": " ".join(sys.argv),
        "versions": {"semiseg": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "hardware": hardware_name(run.hardware.device),
    }


def hardware_name(device: torch.device) -> str:
    """The GPU's name, or the processor and its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def result_rows(summary: dict[str, Any], tracker: Tracker) -> dict[str, str]:
    """The table at the end of a run, label -> text."""
    rows = {
        "Best val mIoU": f"{summary['best_val_miou']:.4f} at iteration {summary['best_step']}",
        "Final val mIoU": f"{summary['final_val_miou']:.4f}",
    }
    rows |= {f"IoU {name}": f"{value:.4f}" for name, value in summary["class_iou"].items()}
    rows |= {f"IoU {name}": "absent from truth and prediction" for name in summary["absent_classes"]}
    if summary["st_pixels"] is not None:
        rows["ST pixels"] = f"{summary['st_pixels']:.0f} a batch ({summary['st_coverage']:.1%} of the unlabelled)"
    if summary["st_precision"] is not None:
        rows["ST precision"] = f"{summary['st_precision']:.1%} of the kept pixels are right"
    rows["Time"] = f"{summary['train_seconds']:.0f} s in steps, {summary['seconds_per_step']:.3f} s a step"
    rows["Best weights"] = summary["best_weights"]
    rows["Run folder"] = str(Path(summary["best_weights"]).parents[1])
    if tracker.location:
        rows["MLflow store"] = tracker.location
        rows["Look at it"] = tracker.ui_command
    return rows


def next_command(folder: Path) -> str:
    """What to type after this run."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return f"python compare.py runs={folder.parent.as_posix()}"
    return "python train.py model=v1    then    python compare.py"
