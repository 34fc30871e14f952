"""Files to continue from or to use: written aside, flushed and renamed, so that a name never holds half a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch import nn

from semiseg.checkpoint_names import BEST, LATEST, numbered, salvaged
from semiseg.engine.writer import BackgroundWriter, snapshot
from semiseg.errors import CheckpointError
from semiseg.files import move_over
from semiseg.models.weights import adopt_widths
from semiseg.tensor_file import NO_RUN, read_tensors, same_content, write_tensors

FORMAT = 1
GONE = "If it was moved, move it back and continue with resume=true; if it was deleted, the run has to be started anew."
READABLE = (RuntimeError, OSError, BadZipFile)  # errors whose text says something to a user


def save(payload: Any, path: Path, run: str = NO_RUN, step: int | None = None) -> None:
    """Write `payload` so that `path` holds either the old file or the whole new one, sealed as one of `run` at `step`.

    Raises CheckpointError when the disk is full or the folder cannot be written; the old file is then untouched.
    """
    aside = path.with_name(f"{path.name}.tmp")
    try:
        with aside.open("wb") as file:
            write_tensors(payload, file, run, step)
            file.flush()
            os.fsync(file.fileno())
        move_over(aside, path)
        sync(path.parent)
    except (OSError, RuntimeError) as error:
        if not path.parent.is_dir():
            raise CheckpointError(
                f"Could not write {path}: its folder is gone, and with it what was saved there. {GONE}"
            ) from error
        cause = error if isinstance(error, OSError) else error.__context__ or error
        reason = getattr(cause, "strerror", None) or cause
        raise CheckpointError(
            f"Could not write {path}: {reason}. Earlier checkpoints are intact. "
            "Free space or check the folder's permissions, then continue with resume=true."
        ) from error
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have the system bring a file, or the names in a folder, to the disk, where it can be asked to."""
    with suppress(OSError):  # Windows opens no folders
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def load(path: Path) -> Any:
    """`read`, for a file that the user named: the error also tells of the other checkpoints beside it."""
    try:
        return read(path)
    except CheckpointError as error:
        raise CheckpointError(f"{str(error).removesuffix('.')}{_others(path)}.") from None


def read(path: Path) -> Any:
    """Read a file written by `save` (or any tensor file) to the CPU without executing code from it.

    Raises CheckpointError when it is missing, truncated, damaged or holds anything but tensors and plain values.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist.")
    try:
        return read_tensors(path)
    except Exception as error:  # a damaged pickle fails in any way there is: IndexError, KeyError, UnpicklingError, ...
        detail = str(error).splitlines()[0] if str(error) and isinstance(error, READABLE) else ""
        raise CheckpointError(
            f"{path} cannot be read ({detail or 'it holds other things than tensors and plain values'}). "
            "It is damaged or no checkpoint."
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
            f"{path} cannot be continued, it is of another program: it holds no {', '.join(missing)}. To start from "
            'its weights alone, save them by themselves and give restore_from=weights.pth: python -c "import torch; '
            f"torch.save(torch.load('{path.as_posix()}', weights_only=True)['model_state'], 'weights.pth')\""
        )


def restore(module: nn.Module, state: Mapping[str, Any] | None, path: Path, part: str) -> None:
    """Load one network's state strictly. Raises CheckpointError when it belongs to another network."""
    if state is None:
        raise CheckpointError(f"{path} holds no {part}; it is a checkpoint of another kind of run.")
    adopt_widths(module, state)
    own = module.state_dict()
    wrong = sorted(own.keys() ^ state.keys())
    wrong += [
        k for k in own.keys() & state.keys() if isinstance(own[k], torch.Tensor) and own[k].shape != state[k].shape
    ]
    if wrong:
        every = len(own.keys() | state.keys())
        raise CheckpointError(
            f"{path} is a checkpoint of another model: {len(wrong)} of {every} tensors of the {part} differ, "
            f"such as {', '.join(wrong[:3])}. Give the model, its encoder and the data it was trained with."
        )
    module.load_state_dict(state)


class CheckpointFolder:
    """The weights and checkpoints of one run under the guides' names, written beside the training.

    `networks` maps file suffixes ("", "_D", "_ema") to the networks the run has; files of the others do not exist. Of
    the numbered checkpoints the newest `keep_last` are kept, all where it is None; `run` is what the files are sealed
    with. What a write raises is raised by the next call, or by `close`.
    """

    def __init__(
        self, folder: Path, networks: dict[str, nn.Module], keep_last: int | None = None, run: str = NO_RUN
    ) -> None:
        self.folder, self.networks, self.keep_last, self.run = folder, networks, keep_last, run
        self._writer = BackgroundWriter()

    @property
    def latest(self) -> Path:
        """The checkpoint to resume from."""
        return self.folder / LATEST

    @property
    def best(self) -> Path:
        """The weights of record: averaged ones where the run has them."""
        return self.folder / f"{BEST}{'_ema' if '_ema' in self.networks else ''}.pth"

    @property
    def best_files(self) -> list[Path]:
        """All files that `save_best` writes."""
        return [self.folder / f"{BEST}{suffix}.pth" for suffix in self.networks]

    def save_latest(self, checkpoint: dict[str, Any]) -> None:
        """The plain weights, then `latest_checkpoint.pth`: where it is whole, all before it is."""
        self._write(self._weights("latest_model", ("", "_D")) | {self.latest.name: checkpoint})

    def save_periodic(self, checkpoint: dict[str, Any], step: int) -> None:
        """`checkpoint_N.pth`; older ones go once it is on the disk."""
        self._write({f"checkpoint_{step}.pth": checkpoint}, self._remove_old)

    def save_best(self, step: int) -> Path:
        """`best_model.pth`, `_D` and `_ema`, sealed with their step; the path of the weights of record."""
        self._write(self._weights(BEST, ("", "_D", "_ema")), lambda: self._remove_regained(step), step)
        return self.best

    def save_final(self) -> None:
        """`final_model.pth`, `_D` and `_ema`."""
        self._write(self._weights("final_model", ("", "_D", "_ema")))

    def close(self) -> None:
        """Wait until all is on the disk. Raises CheckpointError where something could not be written."""
        self._writer.close()

    def _weights(self, stem: str, suffixes: tuple[str, ...]) -> dict[str, Any]:
        return {f"{stem}{s}.pth": self.networks[s].state_dict() for s in suffixes if s in self.networks}

    def _write(
        self, payloads: dict[str, Any], afterwards: Callable[[], None] = lambda: None, step: int | None = None
    ) -> None:
        copies = snapshot(payloads)

        def write() -> None:
            # The lines up to this step first: a checkpoint must not outlive, in a power cut, what it says was logged.
            sync(self.folder.parent / "metrics.jsonl")
            while copies:  # each is let go once it is written
                name = next(iter(copies))
                save(copies.pop(name), self.folder / name, self.run, step)
            afterwards()

        self._writer.submit(write)

    def _remove_regained(self, step: int) -> None:
        """What a resumption kept aside, where the training has come to the very same weights again."""
        for best in self.best_files:
            kept = salvaged(best, step)
            if kept.is_file() and same_content(kept, best):
                with suppress(OSError):
                    kept.unlink()

    def _remove_old(self) -> None:
        if self.keep_last is not None:
            for path in numbered(self.folder)[self.keep_last :]:
                with suppress(OSError):  # on Windows while another program reads it: it goes with the next ones
                    path.unlink(missing_ok=True)
