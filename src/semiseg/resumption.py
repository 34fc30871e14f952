"""Continuing a run from the newest of its files that is whole."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiseg.checkpoint_names import best_weights, full_checkpoints
from semiseg.console import Console
from semiseg.engine import checkpoint as files
from semiseg.engine.engine import Engine
from semiseg.errors import CheckpointError
from semiseg.models.weights import load_weights
from semiseg.tensor_file import run_of

SALVAGED = "salvaged"


@dataclass(frozen=True)
class Found:
    """The newest whole file, and why the newer ones were passed over. `state` is None for weights alone."""

    path: Path
    state: dict[str, Any] | None
    skipped: list[str]


def newest_whole(checkpoints: files.CheckpointFolder) -> Found:
    """`latest_checkpoint.pth`, else the newest whole `checkpoint_N.pth`, else the best weights.

    Raises CheckpointError, naming all that was tried, when none of them is whole.
    """
    skipped: list[str] = []
    for path in full_checkpoints(checkpoints.folder):
        try:
            return Found(path, _full_checkpoint(path, checkpoints.run), skipped)
        except CheckpointError as error:
            skipped.append(str(error))
    for path in best_weights(checkpoints.folder):
        try:
            _weights(path, checkpoints.run)
            return Found(path, None, skipped)
        except CheckpointError as error:
            skipped.append(str(error))
    raise CheckpointError(
        f"No file in {checkpoints.folder} can be continued from: {' '.join(skipped)} Start anew with another name=."
    )


def resume(engine: Engine, console: Console) -> None:
    """Continue from the newest whole file of the engine's folder, and say which and what was passed over.

    Raises CheckpointError when there is none, or when the settings do not fit it.
    """
    found = newest_whole(engine.checkpoints)
    for reason in found.skipped:
        console.warning(f"Passed over: {reason}")
    if found.state is not None:
        engine.load_state_dict(found.state, found.path)
        done = f"{engine.step} of {engine.total_steps} iterations done"
        console.message(f"Continuing from {found.path}: {done}")
        return
    _start_from_best(engine, found.path)
    console.warning(
        f"No checkpoint is left, only the best weights: training starts at iteration 0 from {found.path}. The state of "
        f"the optimiser is gone. What was there is kept as {SALVAGED}_model*.pth and {SALVAGED}_metrics.jsonl."
    )


def _start_from_best(engine: Engine, path: Path) -> None:
    """The weights of every network that has a whole file of its own; an average without one starts at the network."""
    folder, networks = engine.checkpoints.folder, engine.checkpoints.networks
    load_weights(networks[""], path)
    for suffix in networks.keys() - {""}:
        own = folder / f"best_model{suffix}.pth"
        with suppress(CheckpointError):
            _weights(own, engine.checkpoints.run)
            load_weights(networks[suffix], own)
            continue
        if suffix == "_ema":
            networks[suffix].load_state_dict(networks[""].state_dict())
    _keep_aside(folder)


def _keep_aside(folder: Path) -> None:
    """The training to come writes new best weights and metrics; a second attempt must not replace what was kept."""
    olds = {path: path.with_name(path.name.replace("best", SALVAGED, 1)) for path in folder.glob("best_model*.pth")}
    metrics = folder.parent / "metrics.jsonl"
    olds[metrics] = metrics.with_name(f"{SALVAGED}_metrics.jsonl")
    for old, kept in olds.items():
        if old.is_file() and not kept.exists():
            shutil.copy2(old, kept)


def _full_checkpoint(path: Path, run: str) -> dict[str, Any]:
    state = _of_run(path, run)
    if not files.is_full_checkpoint(state):
        raise CheckpointError(f"{path} is no full checkpoint: it holds weights alone, or something else.")
    return state


def _weights(path: Path, run: str) -> dict[str, Any]:
    state = _of_run(path, run)
    if files.is_full_checkpoint(state):
        raise CheckpointError(f"{path} holds a full checkpoint in the place of weights.")
    return state


def _of_run(path: Path, run: str) -> Any:
    """The content of a whole file that is not another run's; files of older versions do not say whose they are."""
    state = files.read(path)
    if run_of(path) not in (None, run):
        raise CheckpointError(f"{path} belongs to another run; to start from it all the same, use restore_from=.")
    return state
