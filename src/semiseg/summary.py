"""What a run leaves behind in numbers: `summary.json`, and the table at its end."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.core.hydra_config import HydraConfig

from semiseg import __version__
from semiseg.config import recipe_dirs
from semiseg.data.build import DataBundle
from semiseg.engine.memory import sizes
from semiseg.models.cost import gflops, latency_ms
from semiseg.overrides import key_of, override
from semiseg.run_folder import git_commit
from semiseg.shell import command, program
from semiseg.tracking.base import Tracker

if TYPE_CHECKING:
    from semiseg.run import Run


def summarise(run: Run, status: str) -> dict[str, Any]:
    """`summary.json`: what was run, on what, and what came out."""
    config, engine, classes = run.config, run.engine, run.bundle.classes
    size, best = run.trainer.crop_size, run.engine.checkpoints.best
    return {
        "status": status,
        "name": run.folder.path.name,
        "experiment": config.experiment_name,
        "model": config.model.name,
        "choices": {group: word for group, word in run.choices.items() if not group.startswith("hydra")},
        "seed": config.seed,
        "num_classes": classes.num_classes,
        "classes": list(classes.names),
        "eval_size": run.eval_size,
        "colors": {name: list(color) for name, color in zip(classes.names, classes.colors, strict=True)},
        "miou_leaves_out": left_out_of_miou(run.bundle),
        "parameters": sum(p.numel() for p in run.method.student.parameters()),
        "gflops": cost(run, size, status),
        "latency_ms": latency_ms(run.method.evaluated, size, size) if run.eval_size else None,  # of a finished run
        "weights_mib": best.stat().st_size / 2**20 if best.exists() else None,
        "weights_of_record": "model" if run.method.ema is None else "ema",
        "sweep": run.folder.path.parent.name if run.folder.sweep else None,
        "steps": engine.step,
        "total_steps": engine.total_steps,
        **sizes(run.trainer),  # as they were at the end: trainer.auto_batch changes them
        **run.recorder.figures(),
        "checkpoints": sorted(path.name for path in run.folder.checkpoints.glob("*.pth")),
        "best_weights": str(best) if best.exists() else None,
        "warnings": run.console.warnings,
        **provenance(run),
    }


def cost(run: Run, size: int, status: str) -> float | None:
    """GFLOPs of a patch; None where the device failed, which must not hide why the run ended."""
    try:
        return gflops(run.method.student, size, size)
    except RuntimeError:
        if status != "failed":
            raise
        return None


def provenance(run: Run) -> dict[str, Any]:
    """Where the numbers come from."""
    return {
        "mlflow_run_id": run.tracker.run_id,
        "data_fingerprint": run.bundle.fingerprint(),
        "pools": {pool: len(getattr(run.bundle.pools, pool)) for pool in ("train", "val", "unlabeled")},
        "git_commit": git_commit(),
        "command": command([*sys.argv[0].split(maxsplit=1), *sys.argv[1:]]),  # semiseg VERB, which is one word there
        "versions": {"semiseg": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "hardware": hardware_name(run.hardware.device),
    }


def hardware_name(device: torch.device) -> str:
    """The GPU's name, or the processor and its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def left_out_of_miou(bundle: DataBundle) -> list[str]:
    """Names of the classes that `data.exclude_from_miou` takes out of the mean."""
    return [bundle.classes.names[number] for number in bundle.config.exclude_from_miou]


def result_rows(summary: dict[str, Any], folder: Path, tracker: Tracker) -> dict[str, str]:
    """The table at the end of a run, label -> text."""
    rows = {
        "Best val mIoU": f"{summary['best_val_miou']:.4f} at iteration {summary['best_step']}",
        "Final val mIoU": f"{summary['final_val_miou']:.4f}",
    }
    if summary["miou_leaves_out"]:
        rows["mIoU leaves out"] = ", ".join(summary["miou_leaves_out"])
    rows |= {f"IoU {name}": f"{value:.4f}" for name, value in summary["class_iou"].items()}
    rows |= {f"IoU {name}": "absent from truth and prediction" for name in summary["absent_classes"]}
    if summary["st_pixels"] is not None:
        rows["ST pixels"] = f"{summary['st_pixels']:.0f} a step ({summary['st_coverage']:.1%} of the unlabelled)"
    if summary["st_precision"] is not None:
        rows["ST precision"] = f"{summary['st_precision']:.1%} of the kept pixels are right"
    rows["Time"] = f"{summary['train_seconds']:.0f} s in steps, {summary['seconds_per_step']:.3f} s a step"
    rows["Best weights"] = summary["best_weights"]
    rows["Run folder"] = str(folder)
    if tracker.location:
        rows["MLflow store"] = tracker.location
        rows["Look at it"] = tracker.ui_command
        if tracker.ui_page:  # not where the store never answered
            rows["and open"] = tracker.ui_page
    return rows


def next_command(run: Run) -> str:
    """What to type after this run: another system on the same data, and the comparison of both.

    Nothing after a job of a sweep, which says it once for all of them.
    """
    if run.folder.sweep:
        return ""
    if run.original is not None:
        return f"{program('compare')} {override('runs', run.folder.path.parent.as_posix())}"
    kept = [each for each in HydraConfig.get().overrides.task if of_data_or_place(key_of(each))]
    if not any(key_of(each) == "data" for each in kept) and run.choices["data"] != "demo":  # an experiment chose it
        kept.insert(0, f"data={run.choices['data']}")
    other = "v1" if run.config.model.name == "v3" else "v3"
    output = str(run.config.output)
    compared = "" if output == "runs" else f" {override('runs', output)}"
    words = command([f"model={other}", *kept, *recipe_dirs()])
    return f"{program('train')} {words}    then    {program('compare')}{compared}"


def of_data_or_place(key: str) -> bool:
    """Whether a setting says what is trained on or where the runs go, which two runs to compare have in common."""
    return key in ("data", "output", "experiment_name") or key.startswith("data.")
