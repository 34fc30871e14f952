"""Files to continue from or to use: written aside, flushed and renamed, so that a name never holds half a file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Set
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch import nn

from semiseg.errors import CheckpointError
from semiseg.tensor_file import read_tensors

FORMAT = 1


def save(payload: Any, path: Path) -> None:
    """Write `payload` so that `path` holds either the old file or the whole new one.

    Raises CheckpointError when the disk is full or the folder cannot be written; the old file is then untouched.
    """
    aside = path.with_name(f"{path.name}.tmp")
    try:
        with aside.open("wb") as file:
            torch.save(payload, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__ or error
        if isinstance(cause, KeyboardInterrupt):  # PyTorch's writer turns Ctrl-C into a RuntimeError of its own
            raise cause from None
        reason = getattr(cause, "strerror", None) or cause
        raise CheckpointError(
            f"Could not write {path}: {reason}. Earlier checkpoints are intact. "
            "Free space or check the folder's permissions, then continue with resume=true."
        ) from error
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def load(path: Path) -> Any:
    """Read a file written by `save` (or any tensor file) to the CPU without executing code from it.

    Raises CheckpointError when it is missing, truncated, damaged or holds anything but tensors and plain values.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist{_others(path)}.")
    try:
        return read_tensors(path)
    except Exception as error:  # a damaged pickle fails in any way there is: IndexError, KeyError, UnpicklingError, ...
        detail = str(error).splitlines()[0] if isinstance(error, RuntimeError | OSError | BadZipFile) else ""
        raise CheckpointError(
            f"{path} cannot be read ({detail or 'it holds other things than tensors and plain values'}). "
            f"It is damaged or no checkpoint{_others(path)}."
        ) from None


def _others(path: Path) -> str:
    """The checkpoints beside a bad one, newest first, as the end of a sentence."""
    if not path.parent.is_dir():
        return ""
    found = [p for p in path.parent.glob("*checkpoint*.pth") if p != path]
    if not found:
        return ""
    newest = sorted(found, key=lambda p: p.stat().st_mtime, reverse=True)
    return "; use restore_from= with another one: " + ", ".join(str(p) for p in newest[:3])


def is_full_checkpoint(payload: Any) -> bool:
    """True for a checkpoint that training continues from, False for a plain weights file."""
    return isinstance(payload, Mapping) and "model_state" in payload and "iteration" in payload


def check_keys(state: Mapping[str, Any], expected: Set[str], path: Path) -> None:
    """Raises CheckpointError when a checkpoint lacks parts, as those of other programs do."""
    missing = sorted(expected - state.keys())
    if missing:
        raise CheckpointError(
            f"{path} cannot be continued, it holds no {', '.join(missing)}. To start from its weights alone, save its "
            "model_state as a file of its own and give that as restore_from=PATH."
        )


def restore(module: nn.Module, state: Mapping[str, Any] | None, path: Path, part: str) -> None:
    """Load one network's state strictly. Raises CheckpointError when it belongs to another network."""
    if state is None:
        raise CheckpointError(f"{path} holds no {part}; it is a checkpoint of another kind of run.")
    own = module.state_dict()
    wrong = sorted(own.keys() ^ state.keys())
    wrong += [
        k for k in own.keys() & state.keys() if isinstance(own[k], torch.Tensor) and own[k].shape != state[k].shape
    ]
    if wrong:
        raise CheckpointError(
            f"{path} is a checkpoint of another model: {len(wrong)} of {len(own)} tensors of the {part} differ, "
            f"such as {', '.join(wrong[:3])}. Give the model, its encoder and the data it was trained with."
        )
    module.load_state_dict(state)


class CheckpointFolder:
    """The weights and checkpoints of one run under the guides' names.

    `networks` maps file suffixes ("", "_D", "_ema") to the networks the run has; files of the others do not exist.
    """

    def __init__(self, folder: Path, networks: dict[str, nn.Module]) -> None:
        self.folder = folder
        self.networks = networks

    @property
    def latest(self) -> Path:
        """The checkpoint to resume from."""
        return self.folder / "latest_checkpoint.pth"

    @property
    def best(self) -> Path:
        """The weights of record: averaged ones where the run has them."""
        return self.folder / f"best_model{'_ema' if '_ema' in self.networks else ''}.pth"

    def save_latest(self, checkpoint: dict[str, Any]) -> None:
        """`latest_checkpoint.pth` and the plain weights beside it."""
        save(checkpoint, self.latest)
        self._weights("latest_model", ("", "_D"))

    def save_periodic(self, checkpoint: dict[str, Any], step: int) -> None:
        """`checkpoint_N.pth`."""
        save(checkpoint, self.folder / f"checkpoint_{step}.pth")

    def save_best(self) -> Path:
        """`best_model.pth`, `_D` and `_ema`; the path of the weights of record."""
        self._weights("best_model", ("", "_D", "_ema"))
        return self.best

    def save_final(self) -> None:
        """`final_model.pth`, `_D` and `_ema`."""
        self._weights("final_model", ("", "_D", "_ema"))

    def _weights(self, stem: str, suffixes: tuple[str, ...]) -> None:
        for suffix in suffixes:
            if suffix in self.networks:
                network = self.networks[suffix]
                save(network.state_dict(), self.folder / f"{stem}{suffix}.pth")
