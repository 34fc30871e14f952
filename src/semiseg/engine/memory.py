"""Running out of memory: what to change, and smaller batches with more accumulation in its place."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semiseg.contracts import Batch
from semiseg.engine.settings import TrainerConfig
from semiseg.errors import SemisegError
from semiseg.overrides import override

# The CPU allocator's on Linux and macOS and on Windows, Metal's, of CUDA's libraries, and what is said where no way to
# compute a convolution finds the memory it works in.
SAYINGS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "_STATUS_ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "unable to find an engine to execute this computation",
)
SMALLEST = 2  # images: BatchNorm after a global pooling cannot train on one


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(saying in str(error) for saying in SAYINGS)


def release(error: BaseException, device: torch.device) -> None:
    """Free the tensors that the frames of an error hold, and give them back to the device."""
    traceback.clear_frames(error.__traceback__)
    if device.type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def told_as(error: Callable[[], SemisegError], device: torch.device) -> Iterator[None]:
    """Raise `error()` in place of an error that says that memory ran out."""
    try:
        yield
    except RuntimeError as cause:
        if not is_out_of_memory(cause):
            raise
        release(cause, device)
        raise error() from cause


def splitting(trainer: TrainerConfig, uses_unlabeled: bool) -> int | None:
    """What to divide the batch sizes by and multiply `accumulate` with; 2 where all sizes are even.

    None where no division leaves batches of at least two images with the same number of images a step.
    """
    images = [trainer.batch_size] + [trainer.unlabeled_batch_size] * uses_unlabeled
    return next((n for n in range(2, min(images) // SMALLEST + 1) if not any(size % n for size in images)), None)


def split(trainer: TrainerConfig, parts: int, uses_unlabeled: bool) -> None:
    """Divide the batches of a step, in place: whoever opens a stream reads the sizes there."""
    trainer.batch_size //= parts
    if uses_unlabeled:
        trainer.unlabeled_batch_size //= parts
    trainer.accumulate *= parts


def sizes(trainer: TrainerConfig) -> dict[str, int]:
    """What a checkpoint keeps of the batches as they are now."""
    return {name: getattr(trainer, name) for name in ("batch_size", "unlabeled_batch_size", "accumulate")}


def take_over(trainer: TrainerConfig, saved: Mapping[str, int]) -> None:
    """Go on with the batches of a checkpoint where memory ran out before, if its steps had as many images."""
    if trainer.auto_batch and saved:
        labeled, unlabeled = (saved[name] * saved["accumulate"] for name in ("batch_size", "unlabeled_batch_size"))
        # A system without unlabelled images does not split their batches.
        images = (unlabeled, saved["unlabeled_batch_size"] * trainer.accumulate)
        same_labeled = trainer.batch_size * trainer.accumulate == labeled
        if same_labeled and trainer.unlabeled_batch_size * trainer.accumulate in images:
            for name, value in saved.items():
                setattr(trainer, name, value)


def size_that_fits(batch: Batch, fits: Callable[[Batch], bool]) -> int | None:
    """Number of labelled images, found by trying the first half of a batch, the first quarter and so on.

    None where not even one image fits.
    """
    full = size = len(batch.image)
    while size > 1:
        size //= 2
        if fits(batch.map(partial(_first, share=size / full))):
            return size
    return None


def _first(tensor: Tensor, share: float) -> Tensor:
    return tensor[: max(1, int(len(tensor) * share))]


def out_of_memory(
    step: int, trainer: TrainerConfig, size: int | None, checkpoint: tuple[Path, int] | None, config: Mapping[str, Any]
) -> SemisegError:
    """The error of a step; `size` is the number of labelled images that fit, None where none is known to.

    `checkpoint` is the newest one, with its step.
    """
    batches = f"trainer.batch_size={trainer.batch_size} trainer.unlabeled_batch_size={trainer.unlabeled_batch_size}"
    text = [f"Out of memory at step {step} with {batches} trainer.crop_size={trainer.crop_size}."]
    if size is None:
        text.append("No smaller part of this batch could be shown to fit.")
    else:
        automatic = "" if trainer.auto_batch else ", or trainer.auto_batch=true, which halves the batches when needed"
        smaller, kept = _smaller(trainer, size)
        text.append(
            f"The first {size} images of this batch fitted in a trial, so that many should, if other batches are no "
            f"larger. Use {smaller}{', which keeps the images of a step' if kept else ''}{automatic}."
        )
    if others := less_memory(trainer, config):
        text.append(f"Other ways: {', '.join(others)}.")
    if checkpoint is not None:
        path, saved_at = checkpoint
        text.append(f"Continue with {override('restore_from', path.as_posix())} (iteration {saved_at}).")
    return SemisegError(" ".join(text))


def _smaller(trainer: TrainerConfig, size: int) -> tuple[str, bool]:
    """The overrides for at most `size` labelled images at a time, and whether a step has as many images as before."""
    labeled, unlabeled = trainer.batch_size, trainer.unlabeled_batch_size
    least = math.ceil(labeled / size)
    exact = [n for n in range(least, min(labeled, unlabeled // SMALLEST) + 1) if labeled % n == unlabeled % n == 0]
    parts = exact[0] if exact else least
    batches = f"trainer.batch_size={labeled // parts} trainer.unlabeled_batch_size={max(SMALLEST, unlabeled // parts)}"
    return f"{batches} trainer.accumulate={trainer.accumulate * parts}", bool(exact)


def less_memory(trainer: TrainerConfig, config: Mapping[str, Any]) -> list[str]:
    """The guides' overrides against "CUDA out of memory", those that change something in this run."""
    crop = trainer.crop_size
    found = [f"trainer.crop_size={crop * 3 // 4 // 32 * 32}"] if crop > 64 else []
    aug, largest = config.get("aug") or {}, 5 * crop // 4 // 16 * 16  # 320 at a crop of 256, as in the V3 guide
    if "size_max" in aug and (aug["size_max"] or crop * 3 // 2) > largest:
        found.append(f"aug.size_max={largest}")
    if (config.get("model") or {}).get("output_stride") == 8:
        found.append("model.output_stride=16")
    if trainer.precision == "fp32":
        found.append("trainer.precision=auto")
    return found


def out_of_memory_at_start() -> SemisegError:
    """The error of a network that finds no room before its first batch."""
    return SemisegError(
        "Out of memory before the first step: the network alone finds no room on the device. End what else uses it, "
        "such as another training or the other jobs of a sweep (hydra.launcher.n_jobs=1), or take trainer.device=cpu."
    )


def out_of_memory_in_evaluation(step: int, trainer: TrainerConfig) -> SemisegError:
    """The error of an evaluation, which holds no gradients but whole patches."""
    size = max(1, trainer.eval_batch_size // 2)
    return SemisegError(
        f"Out of memory in the evaluation at step {step} with trainer.eval_batch_size={trainer.eval_batch_size}. "
        f"Use trainer.eval_batch_size={size} or less; it changes no result."
    )
