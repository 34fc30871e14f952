"""Whether an exported file predicts what the network predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from semiseg.contracts import argmax_channel
from semiseg.errors import CheckpointError
from semiseg.evaluation.predictors import Predictor

TOLERANCE = 1e-4  # of a probability: what another order of adding float32 numbers makes, with a factor of ten to spare


@dataclass(frozen=True)
class Agreement:
    """Two systems on the same images."""

    largest_difference: float  # of a probability
    same_class: float  # share of the pixels
    shapes: list[list[int]]  # of the batches of images


def compare(reference: Predictor, other: Predictor, batches: Sequence[Tensor]) -> Agreement:
    """Both on batches of images, uint8 [B, 3, H, W]. Raises CheckpointError where shapes differ."""
    differences, same, pixels = [], 0, 0
    for images in batches:
        expected, found = reference.probabilities(images), other.probabilities(images)
        if expected.shape != found.shape:
            raise CheckpointError(f"The exported network gives {list(found.shape)} for {list(expected.shape)}.")
        differences.append(float((expected - found).abs().amax()))
        equal = argmax_channel(expected) == argmax_channel(found)
        same, pixels = same + int(equal.sum()), pixels + equal.numel()
    largest = float(torch.tensor(differences).amax())  # a NaN stays one, which it does not with `max`
    return Agreement(largest, same / pixels, [list(images.shape) for images in batches])


def check(path: Path, agreement: Agreement) -> None:
    """Raises CheckpointError for a file of float32 weights that differs from the network by more than rounding."""
    if agreement.largest_difference <= TOLERANCE:  # a NaN is not
        return
    raise CheckpointError(
        f"{path} was not written: its probabilities differ from the network's by {agreement.largest_difference:.2g}, "
        f"{TOLERANCE:g} is allowed. Export it with another version of PyTorch, and report it with the run's config."
    )


class Program:
    """A graph of `torch.export` as a predictor."""

    def __init__(self, program: torch.export.ExportedProgram, reference: Predictor) -> None:
        self.module, self.classes = program.module(), reference.classes

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """uint8 RGB [B, 3, H, W] to class probabilities [B, C, H, W]."""
        return self.module(images)
