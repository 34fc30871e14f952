"""Pixels whose softmax confidence exceeds a threshold (V3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from semiseg.contracts import PseudoLabel, argmax_channel, as_heads, mean_probability
from semiseg.losses import SegmentationLoss
from semiseg.pseudo_label.base import PseudoLabeler, check_below_one, check_one_of
from semiseg.pseudo_label.thresholds import resolve_thresholds


def mean_vote(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Confidence and class of the heads' mean softmax: [K, U, C, h, w] or [U, C, h, w] -> two of [U, h, w]."""
    confidence, target = mean_probability(logits).max(dim=1)
    return confidence, target


def majority_vote(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Class that most heads predict, and the mean softmax of that class as its confidence.

    A tie goes to the class of the higher mean probability. [K, U, C, h, w] or [U, C, h, w] -> two of [U, h, w].
    """
    probability = mean_probability(logits)
    class_ids = torch.arange(probability.shape[1], device=logits.device).view(1, -1, 1, 1)
    votes = torch.zeros_like(probability)
    for head in as_heads(logits):
        votes += argmax_channel(head).unsqueeze(1) == class_ids
    target = argmax_channel(votes + probability / 2)  # at most half a vote, so it decides ties alone
    return probability.gather(1, target.unsqueeze(1)).squeeze(1), target


VOTES = {"mean": mean_vote, "majority": majority_vote}
TEACHERS = ("student", "ema")


class SoftmaxThreshold(PseudoLabeler):
    """Keeps each pixel whose voted confidence is above the threshold of its predicted class.

    `class_thresholds` (see `resolve_thresholds`) replaces the one `threshold`; `vote` joins the heads, "mean" or
    "majority"; `teacher` says whose logits are judged, those of the "student" or of its "ema".
    """

    needs_teacher = True
    thresholds: Tensor  # [C], +inf where the class is never a pseudo label

    def __init__(
        self,
        threshold: float = 0.65,
        class_thresholds: Sequence[float | None] | Mapping[Any, float | None] | None = None,
        vote: str = "mean",
        teacher: str = "student",
        start_step: int = 500,
        weight: float = 1.0,
        st_loss: SegmentationLoss | None = None,
    ) -> None:
        super().__init__(start_step, weight, st_loss)
        check_below_one(threshold=threshold)
        check_one_of(VOTES, vote=vote)
        check_one_of(TEACHERS, teacher=teacher)
        self.threshold = threshold
        self.class_thresholds = class_thresholds
        self.vote = VOTES[vote]
        self.teacher = teacher

    def prepare(self, num_classes: int, class_names: Sequence[str], total_steps: int) -> None:
        """Lay out the thresholds by class id; raises ConfigError where they do not fit the data's classes."""
        thresholds = resolve_thresholds(self.class_thresholds, self.threshold, class_names)
        # A setting, not a state: a resumed run takes it from its config, so the checkpoint leaves it out.
        self.register_buffer("thresholds", torch.tensor(thresholds, dtype=torch.float32), persistent=False)

    @torch.no_grad()
    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        images: Tensor,
        real: tuple[Tensor, Tensor] | None,
        step: int,
    ) -> PseudoLabel:
        """Judge the teacher's logits; the student's, the images and the real batch are not read."""
        assert teacher_logits is not None, "needs_teacher promises teacher logits"
        confidence, target = self.vote(teacher_logits)
        keep = confidence > self.thresholds[target]
        return PseudoLabel(target, keep, logs={"pseudo_label/confidence": confidence.mean()})
