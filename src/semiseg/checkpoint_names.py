"""Which files of a `checkpoints` folder a run can be continued from, by their names alone."""

from __future__ import annotations

import re
from pathlib import Path

LATEST = "latest_checkpoint.pth"
BEST = "best_model"  # and _D or _ema
SALVAGED = "salvaged"
NUMBERED = re.compile(r"checkpoint_(\d+)\.pth")


def numbered(folder: Path) -> list[Path]:
    """The `checkpoint_N.pth` of a folder, newest first."""
    found = ((NUMBERED.fullmatch(path.name), path) for path in folder.glob("checkpoint_*.pth"))
    steps = [(int(match.group(1)), path) for match, path in found if match]
    return [path for _, path in sorted(steps, reverse=True)]


def full_checkpoints(folder: Path) -> list[Path]:
    """The full checkpoints, in the order in which a resumption tries them."""
    latest = folder / LATEST
    return [latest, *numbered(folder)] if latest.is_file() else numbered(folder)


def best_weights(folder: Path) -> list[Path]:
    """The best weights that stand in when no checkpoint is whole: the network's own, and the average's where it is all
    there is."""
    return [path for name in ("best_model.pth", "best_model_ema.pth") if (path := folder / name).is_file()]


def salvaged(best: Path, step: int | None = None) -> Path:
    """Where best weights are kept aside that do not belong to the training that goes on."""
    prefix = SALVAGED if step is None else f"{SALVAGED}_{step}"
    return best.with_name(best.name.replace("best", prefix, 1))
