"""Supervised training: no pseudo labels."""

from __future__ import annotations

import torch
from torch import Tensor

from semiseg.contracts import PseudoLabel, argmax_channel, mean_probability
from semiseg.pseudo_label.base import PseudoLabeler


class NoPseudoLabels(PseudoLabeler):
    """Trusts no pixel and is never active.

    It takes the two settings that every pseudo-labeler has, so that the recipe of a data set may set them.
    """

    needs_unlabeled = False

    def __init__(self, start_step: int = 0, weight: float = 0.0) -> None:
        super().__init__(start_step, weight)

    def self_training(self, step: int) -> bool:
        return False

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        images: Tensor,
        real: tuple[Tensor, Tensor] | None,
        step: int,
    ) -> PseudoLabel:
        target = argmax_channel(mean_probability(student_logits.detach()))
        return PseudoLabel(target, torch.zeros_like(target, dtype=torch.bool))
