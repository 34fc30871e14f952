"""What every pseudo-labeler is to the methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from semiseg.contracts import PseudoLabel
from semiseg.errors import ConfigError
from semiseg.losses import SegmentationLoss

Losses = tuple[dict[str, Tensor], dict[str, Tensor]]  # by optimiser, and logs without gradient


class PseudoLabeler(nn.Module, ABC):
    """Which unlabelled pixels to trust, and what else the student is to learn from.

    Self-training counts from step `start_step` on, with `weight`. `st_loss` is the loss it uses, null for the
    supervised one. Steps are counted from 0.
    """

    needs_unlabeled = True  # unlabelled batches wanted at all
    needs_teacher = False  # teacher logits wanted: eval mode, without gradient
    needs_real = False  # a second labelled batch wanted
    teacher = "student"  # whose logits, where they are wanted: student or ema
    optim: Mapping[str, Any] | None = None  # optimiser settings of what the labeler itself trains
    from_elsewhere: tuple[str, ...] = ()  # submodules that `prepare` loads, so that checkpoints leave them out

    def __init__(self, start_step: int = 0, weight: float = 1.0, st_loss: SegmentationLoss | None = None) -> None:
        super().__init__()
        check_not_negative(start_step=start_step, weight=weight)
        self.start_step = start_step
        self.weight = weight
        self.st_loss: SegmentationLoss | None = st_loss

    def active(self, step: int) -> bool:
        """Whether the unlabelled batch matters at all at this step."""
        return self.self_training(step)

    def self_training(self, step: int) -> bool:
        """Whether the self-training loss counts at this step."""
        return step >= self.start_step

    def weight_at(self, step: int) -> float:
        """Weight of the self-training loss at this step."""
        return self.weight

    def prepare(self, num_classes: int, class_names: Sequence[str], total_steps: int) -> None:
        """Build what depends on the data or on the length of the run; due once, before the first forward.

        The base needs nothing.
        """

    def set_length(self, total_steps: int) -> None:
        """The run is to have another length than `prepare` was told; the base has nothing that depends on it."""

    def labeled_losses(self, student_logits: Tensor, images: Tensor, mask: Tensor) -> Losses:
        """What a labelled batch adds to the supervised loss, and what is worth showing of it; the base adds nothing.

        Logits [B, C, H, W] or [K, B, C, H, W]; images [B, 3, H, W]; mask [B, H, W] int64.
        """
        return {}, {}

    @abstractmethod
    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        images: Tensor,
        real: tuple[Tensor, Tensor] | None,
        step: int,
    ) -> PseudoLabel:
        """Judge one unlabelled batch.

        Logits [U, C, h, w] or [K, U, C, h, w]; images [U, 3, h, w]; real = (image [R, 3, H, W], mask [R, H, W] int64).
        """


def check_not_negative(**settings: float) -> None:
    """ConfigError for the first setting below 0."""
    for name, value in settings.items():
        if value < 0:
            raise ConfigError(f"pseudo_label.{name}={value}: give 0 or more.")


def check_below_one(**settings: float | None) -> None:
    """ConfigError for the first setting outside [0, 1); null passes."""
    for name, value in settings.items():
        if value is not None and not 0 <= value < 1:
            raise ConfigError(f"pseudo_label.{name}={value}: give a value from 0 to below 1.")


def check_one_of(options: Iterable[str], **settings: str) -> None:
    """ConfigError for the first setting that is none of the options."""
    for name, value in settings.items():
        if value not in options:
            raise ConfigError(f"pseudo_label.{name}={value}: give one of {', '.join(options)}.")
