"""Continuing a run from the newest of its files that is whole."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiseg.checkpoint_names import SALVAGED, best_weights, full_checkpoints, salvaged
from semiseg.console import Console
from semiseg.data.identity import check_same_data
from semiseg.engine import checkpoint as files
from semiseg.engine.engine import Engine
from semiseg.engine.optim import start_momentum
from semiseg.errors import CheckpointError
from semiseg.models.weights import load_weights
from semiseg.tensor_file import run_of, step_of


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

    Raises CheckpointError when there is none, or when the settings do not fit it, and ConfigError for other data.
    """
    found = newest_whole(engine.checkpoints)
    for reason in found.skipped:
        console.warning(f"Passed over: {reason}")
    if found.state is not None:
        _load(engine, found.state, found.path, console)
        _mend_best(engine, console)
        return
    _start_from_best(engine, found.path)
    console.warning(
        f"No checkpoint is left, only the best weights: training starts at iteration 0 from {found.path}. The state of "
        f"the optimiser is gone. What was there is kept as {SALVAGED}_model*.pth and {SALVAGED}_metrics.jsonl."
    )


def start_from(engine: Engine, path: Path, console: Console) -> None:
    """Go on from a full checkpoint of another folder, or begin at iteration 0 with the weights that a file holds.

    Raises CheckpointError when the file does not fit the settings, and ConfigError for other data.
    """
    state = files.load(path)
    if files.is_full_checkpoint(state):
        _load(engine, state, path, console)
        return engine.start_anew_in_folder()
    networks = engine.checkpoints.networks
    report = load_weights(networks[""], path)
    if "_ema" in networks:
        networks["_ema"].load_state_dict(networks[""].state_dict())
    _fit_momentum(engine)
    return console.message(
        f"{path} holds weights only ({report}): training starts at iteration 0 with a fresh optimiser."
    )


def _load(engine: Engine, state: dict[str, Any], path: Path, console: Console) -> None:
    """Continue from a full checkpoint of this run or another, and say so.

    Raises CheckpointError when the settings do not fit it, and ConfigError when the data is not the same.
    """
    engine.load_state_dict(state, path)
    check_same_data(state.get("data"), engine.data, console.warning)
    done = f"{engine.step} of {engine.total_steps} iterations done"
    console.message(f"Continuing from {path}: {done}")
    before, seed = (state["config"] or {}).get("seed"), engine.config.get("seed")
    if before != seed:
        console.warning(
            f"seed={seed}, and the run began with seed={before}: from here on the samples are drawn by the new seed. "
            "What is trained stays, and random numbers go on where they were: it is no run of its own, which takes "
            "another name= and no resume=."
        )


def _mend_best(engine: Engine, console: Console) -> None:
    """Have the best weights on the disk be those that the checkpoint knows.

    They are of a later step where the training went on after it, until it was killed or its later checkpoints were
    spoilt: those are kept aside. What belongs there is written again where the checkpoint holds it; else, without the
    weights of record, the next evaluation writes new ones.
    """
    step = engine.best.weights[0] if engine.best.weights else None
    wrong = {path: reason for path in engine.checkpoints.best_files if (reason := _misfit(path, step, engine))}
    for path, reason in wrong.items():
        console.warning(f"{reason}{_put_aside(path)}")
    if wrong and step == engine.step:
        engine.checkpoints.save_best(engine.step)
        engine.checkpoints.close()
        engine.recorder.keep_matrices(engine.measure())
        console.message(f"The best weights, of iteration {step}, are written again from the checkpoint.")
    elif engine.checkpoints.best in wrong and engine.best.weights:
        score = engine.best.weights[1]
        engine.forget_best_weights()
        console.warning(
            f"The best weights, of iteration {step} with a val mIoU of {score:.4f}, are gone. The best is sought anew "
            "among the evaluations to come, and it alone is reported."
        )


def _misfit(path: Path, step: int | None, engine: Engine) -> str | None:
    """Why a file is not one of the best weights, which are of this step (None: of none yet); None where it is."""
    if not path.is_file():
        return None if step is None else f"{path} is gone."
    try:
        _weights(path, engine.checkpoints.run)
    except CheckpointError as error:
        return str(error)
    found = step_of(path)
    if found in (None, step):  # older versions sealed no step
        return None
    return f"{path} is of iteration {found}, from a training that went on otherwise than this one."


def _put_aside(path: Path) -> str:
    """Rename weights that do not belong; what cannot be read stays, to be written over. What was done, in words."""
    try:
        files.read(path)
    except CheckpointError:
        return ""
    kept = salvaged(path, step_of(path))
    path.replace(kept)
    return f" It is kept as {kept.name}."


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
    _fit_momentum(engine)
    _keep_aside(folder)


def _fit_momentum(engine: Engine) -> None:
    """To weights of a pruned network, which bring their own widths."""
    for optimizer in engine.optimizers.values():
        start_momentum(optimizer)


def _keep_aside(folder: Path) -> None:
    """The training to come writes new best weights and metrics; a second attempt must not replace what was kept."""
    olds = {path: salvaged(path) for path in folder.glob("best_model*.pth")}
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
