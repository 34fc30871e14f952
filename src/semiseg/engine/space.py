"""What a run will put on the disk, compared with what is free before it starts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import SGD, Optimizer

from semiseg.engine.engine import Engine
from semiseg.errors import ConfigError

GIB = 2**30


def check_space(engine: Engine) -> str | None:
    """A warning where the disk looks too small for all checkpoints of the run; None where it is not.

    Raises ConfigError where not even one checkpoint fits.
    """
    folder = engine.checkpoints.folder
    free = shutil.disk_usage(folder).free
    one, all_files = checkpoint_bytes(engine), run_bytes(engine)
    if free < one:
        raise ConfigError(
            f"{folder}: a checkpoint takes {size(one)}, but {size(free)} are free. Free space, or give another folder "
            "with output=PATH."
        )
    more = all_files - present_bytes(folder)
    if free >= more:
        return None
    return (
        f"The checkpoints of this run may take {size(more)} more in {folder}, where {size(free)} are free; a full disk "
        "would end it. Free space, keep fewer with trainer.keep_last=2, or give another folder with output=PATH."
    )


def checkpoint_bytes(engine: Engine) -> int:
    """A full checkpoint once the optimisers have made their moments."""
    state = engine.state_dict()
    rest = {name: value for name, value in state.items() if not name.startswith("optimizer")}
    return tensor_bytes(rest) + sum(moment_bytes(optimizer) for optimizer in engine.optimizers.values())


def run_bytes(engine: Engine) -> int:
    """All files of the run when they take the most: a checkpoint is written beside the one it replaces."""
    checkpoint, trainer = checkpoint_bytes(engine), engine.trainer
    weights = {suffix: tensor_bytes(network.state_dict()) for suffix, network in engine.checkpoints.networks.items()}
    periodic = engine.total_steps // trainer.save_every
    if trainer.keep_last is not None:
        periodic = min(periodic, trainer.keep_last + 1)
    latest = checkpoint + weights[""] + weights.get("_D", 0)
    return checkpoint + latest + 2 * sum(weights.values()) + periodic * checkpoint


def tensor_bytes(value: Any) -> int:
    """Of all tensors in nested dictionaries and lists."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(tensor_bytes(each) for each in value.values())
    if isinstance(value, list | tuple):
        return sum(tensor_bytes(each) for each in value)
    return 0


def moment_bytes(optimizer: Optimizer) -> int:
    """Of momentum (SGD), or of the two moments of Adam and AdamW."""
    total = 0
    for group in optimizer.param_groups:
        kept = bool(group["momentum"]) if isinstance(optimizer, SGD) else 2
        total += kept * tensor_bytes(group["params"])
    return total


def present_bytes(folder: Path) -> int:
    """Of the checkpoints and weights that are there already."""
    total = 0
    for path in folder.glob("*.pth"):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"
