"""What is left of a training whose steps are no longer finite: the batch to look at, and where to go on from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from semiseg.data.batches import BatchStream
from semiseg.data.stream import Pool
from semiseg.engine import checkpoint as files
from semiseg.engine.settings import OptimConfig, TrainerConfig
from semiseg.errors import SemisegError
from semiseg.overrides import override

NAME = "bad_batch.pt"


def save(
    open_stream: Callable[[dict[Pool, int]], BatchStream],
    position: dict[Pool, int],
    step: int,
    accumulate: int,
    folder: Path,
) -> str:
    """Draw the batches of a step once more and keep them as `bad_batch.pt`; a sentence that says so, or why not.

    The file holds "step" and "batches", each with the tensors of a `Batch` (images normalised) and the "files" of its
    patches by pool. They are drawn, not kept, because a position gives the same samples at any time.
    """
    path = folder / NAME
    try:
        with closing(open_stream(position)) as stream:
            batches = []
            for _ in range(accumulate):
                names = stream.coming_files()
                batches.append(vars(next(stream)) | {"files": names})
        files.save({"step": step, "batches": batches}, path)
    except (OSError, SemisegError) as error:  # must not hide what ended the run
        return f"Its batch could not be saved: {error}"
    return f"Its batch is in {path}."


def diverged(
    step: int,
    in_a_row: int,
    losses: Sequence[str],
    batch: str,
    checkpoint: tuple[Path, int] | None,
    optim: OptimConfig,
    trainer: TrainerConfig,
) -> SemisegError:
    """The error that ends a run after `in_a_row` skipped steps; `checkpoint` is the newest one, with its step."""
    what = ", ".join(losses) or "the gradient"
    text = [f"{what} not finite at step {step}, the last of {in_a_row} such steps in a row, which were skipped.", batch]
    remedies = " ".join(_remedies(optim, trainer))
    if checkpoint is None:
        text.append(f"No checkpoint was written yet: start again with {remedies}.")
    else:
        path, saved_at = checkpoint
        again = override("restore_from", path.as_posix())
        text.append(f"{path} is intact (iteration {saved_at}): continue with {again} {remedies}.")
    return SemisegError(" ".join(text))


def _remedies(optim: OptimConfig, trainer: TrainerConfig) -> list[str]:
    """Overrides against divergence, as far as the run does not have them yet."""
    found = [f"optim.lr={optim.lr / 2:g}"]
    if optim.grad_clip is None or optim.grad_clip > 1:
        found.append("optim.grad_clip=10" if optim.grad_clip is None or optim.grad_clip > 10 else "optim.grad_clip=1")
    if trainer.precision != "fp32":
        found.append("trainer.precision=fp32")
    return found
