"""A trained run as teacher of a smaller network: its probabilities on every pixel, its labels where it is sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from semiseg.contracts import IGNORE_INDEX, PseudoLabel
from semiseg.errors import ConfigError, SemisegError
from semiseg.losses import SegmentationLoss, distillation_loss
from semiseg.pseudo_label.base import Losses, check_not_negative
from semiseg.pseudo_label.softmax import SoftmaxThreshold


class Distillation(SoftmaxThreshold):
    """Softmax pseudo labels of the network of `teacher_run`, and its softened probabilities as a target.

    From the first step on, the student's distance from the teacher at `temperature` (see `distillation_loss`) counts
    with `distil_weight`, on labelled patches beside the supervised loss and on unlabelled ones. The teacher's pixels
    above the thresholds are pseudo labels, with `weight` from `start_step` on, as in `SoftmaxThreshold`. `unlabeled`
    false distils on the labelled patches alone, for data that has no others. The teacher never learns.
    """

    needs_teacher = False  # of the method: neither the student nor its average teaches
    from_elsewhere = ("teacher_network",)
    teacher_network: nn.Module

    def __init__(
        self,
        teacher_run: str,
        temperature: float = 2.0,
        distil_weight: float = 1.0,
        unlabeled: bool = True,
        threshold: float = 0.65,
        class_thresholds: Sequence[float | None] | Mapping[Any, float | None] | None = None,
        vote: str = "mean",
        start_step: int = 0,
        weight: float = 1.0,
        st_loss: SegmentationLoss | None = None,
    ) -> None:
        super().__init__(threshold, class_thresholds, vote, start_step=start_step, weight=weight, st_loss=st_loss)
        check_not_negative(distil_weight=distil_weight)
        if temperature <= 0:
            raise ConfigError(f"pseudo_label.temperature={temperature}: give more than 0; 1 does not soften.")
        self.teacher_run = teacher_run
        self.temperature = temperature
        self.distil_weight = distil_weight
        self.needs_unlabeled = unlabeled

    def prepare(self, num_classes: int, class_names: Sequence[str], total_steps: int) -> None:
        """Lay out the thresholds and load the teacher.

        Raises ConfigError and CheckpointError for a run that cannot teach these classes.
        """
        super().prepare(num_classes, class_names, total_steps)
        self.teacher_network = load_teacher(self.teacher_run, class_names)

    def train(self, mode: bool = True) -> Distillation:
        """Stays in eval mode: nothing here has a training behaviour, and the teacher must not get one."""
        return super().train(False)

    def active(self, step: int) -> bool:
        return True

    def labeled_losses(self, student_logits: Tensor, images: Tensor, mask: Tensor) -> Losses:
        loss = distillation_loss(student_logits, self.teach(images), self.temperature, mask != IGNORE_INDEX)
        return {"student": self.distil_weight * loss}, {"loss/distil": loss.detach()}

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        images: Tensor,
        real: tuple[Tensor, Tensor] | None,
        step: int,
    ) -> PseudoLabel:
        """Judge the teacher's logits of the images; "student" holds the weighted distance from them."""
        teacher_logits = self.teach(images)
        pseudo_label = super().forward(student_logits, teacher_logits, images, real, step)
        loss = distillation_loss(student_logits, teacher_logits, self.temperature)
        pseudo_label.losses["student"] = self.distil_weight * loss
        pseudo_label.logs["loss/distil_unlabeled"] = loss.detach()
        return pseudo_label

    @torch.no_grad()
    def teach(self, images: Tensor) -> Tensor:
        """The teacher's logits, [B, C, H, W] or [K, B, C, H, W], without gradient."""
        return self.teacher_network(images)


def load_teacher(run: str, class_names: Sequence[str]) -> nn.Module:
    """The best weights of a run in eval mode, frozen, on the CPU.

    Raises ConfigError where there is no such run, it has not ended, or its classes are not `class_names` in this order;
    CheckpointError where its weights are missing or damaged.
    """
    from semiseg.trained import load_trained  # here, because it builds networks through a module that imports this one

    try:
        teacher = load_trained(run, torch.device("cpu"))
    except SemisegError as error:
        raise type(error)(f"pseudo_label.teacher_run: {error}") from None
    if teacher.classes.names != tuple(class_names):
        raise ConfigError(
            f"pseudo_label.teacher_run={run} knows the classes {', '.join(teacher.classes.names)}, and the data has "
            f"{', '.join(class_names)}: a teacher needs the classes of the data in their order. Give a run that was "
            "trained on this data."
        )
    return teacher.network
