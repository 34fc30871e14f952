"""Images whose prediction a discriminator takes for ground truth (S4GAN: V1, V2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from semiseg.contracts import PseudoLabel, argmax_channel, mean_probability
from semiseg.errors import ConfigError
from semiseg.losses import SegmentationLoss
from semiseg.models.discriminator import Discriminator
from semiseg.pseudo_label import adversarial
from semiseg.pseudo_label.base import PseudoLabeler, check_below_one, check_not_negative, check_one_of
from semiseg.pseudo_label.ramp import linear_ramp

IMAGE_SCALINGS = {"batch": adversarial.scale_over_batch, "image": adversarial.scale_each_image}


class DiscriminatorGate(PseudoLabeler):
    """Keeps whole images whose discriminator score is above a threshold, and trains that discriminator.

    `threshold` and `weight` are final values. With `threshold_from` (`weight_from`) they rise linearly from there at
    step 0 and arrive at the share `threshold_until` (`weight_until`) of the run; null keeps them constant. `fm_weight`
    weighs feature matching in the student's loss; before step `discriminator_start` the discriminator neither learns
    nor teaches. `gate_dropout` judges in training mode, as the reference code does. `image_scaling` takes the range
    of the images from the "batch" or from each "image". `optim` holds the discriminator's optimiser settings.
    """

    needs_real = True
    discriminator: nn.Module

    def __init__(
        self,
        optim: Mapping[str, Any],
        threshold: float = 0.2,
        threshold_from: float | None = None,
        threshold_until: float = 0.6,
        start_step: int = 1000,
        discriminator_start: int = 0,
        weight: float = 1.0,
        weight_from: float | None = None,
        weight_until: float = 0.4,
        fm_weight: float = 0.1,
        gate_dropout: bool = False,
        image_scaling: str = "batch",
        st_loss: SegmentationLoss | None = None,
    ) -> None:
        super().__init__(start_step, weight, st_loss)
        check_below_one(threshold=threshold, threshold_from=threshold_from)
        check_not_negative(discriminator_start=discriminator_start, weight_from=weight_from or 0, fm_weight=fm_weight)
        check_one_of(IMAGE_SCALINGS, image_scaling=image_scaling)
        _check_share(threshold_until=threshold_until, weight_until=weight_until)
        self.threshold, self.threshold_from, self.threshold_until = threshold, threshold_from, threshold_until
        self.weight_from, self.weight_until = weight_from, weight_until
        self.discriminator_start = discriminator_start
        self.fm_weight = fm_weight
        self.gate_dropout = gate_dropout
        self.scale_images = IMAGE_SCALINGS[image_scaling]
        self.optim = dict(optim)

    def prepare(self, num_classes: int, class_names: Sequence[str], total_steps: int) -> None:
        """Build the discriminator and fix where the ramps end."""
        self.num_classes = num_classes
        self.total_steps = total_steps
        self.discriminator = Discriminator(num_classes)

    def set_length(self, total_steps: int) -> None:
        """The ramps end at their shares of it."""
        self.total_steps = total_steps

    def active(self, step: int) -> bool:
        return step >= min(self.discriminator_start, self.start_step)

    def threshold_at(self, step: int) -> float:
        """Score above which an image is kept at this step."""
        start = self.threshold if self.threshold_from is None else self.threshold_from
        return linear_ramp(step, start, self.threshold, self.threshold_until * self.total_steps)

    def weight_at(self, step: int) -> float:
        start = self.weight if self.weight_from is None else self.weight_from
        return linear_ramp(step, start, self.weight, self.weight_until * self.total_steps)

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        images: Tensor,
        real: tuple[Tensor, Tensor] | None,
        step: int,
    ) -> PseudoLabel:
        """Gate the batch on the student's own prediction; from `discriminator_start` on, with both losses.

        "student" holds the weighted feature matching, which reaches the student but not the discriminator;
        "discriminator" its loss on detached inputs, which reaches the discriminator alone.
        """
        probability = mean_probability(student_logits)
        fake = torch.cat([probability, self.scale_images(images)], dim=1)
        pseudo_label = self._gate(fake.detach(), argmax_channel(probability.detach()), step)
        if step >= self.discriminator_start:
            assert real is not None, "needs_real promises a second labelled batch"
            self._add_losses(pseudo_label, fake, self._real_input(*real))
        return pseudo_label

    def _gate(self, fake: Tensor, target: Tensor, step: int) -> PseudoLabel:
        threshold = self.threshold_at(step)
        score = self._judge(fake)
        keep = (score > threshold).view(-1, 1, 1).expand_as(target)
        logs = {"pseudo_label/threshold": torch.full_like(score[0], threshold), "pseudo_label/score": score.mean()}
        return PseudoLabel(target, keep, logs=logs)

    def _judge(self, fake: Tensor) -> Tensor:
        """Score in (0, 1) of each image, without gradient: [U, C + 3, h, w] -> [U] float32."""
        was_training = self.discriminator.training
        self.discriminator.train(was_training and self.gate_dropout)
        # Frozen, not no_grad: under autocast, older PyTorch re-uses the casts of a no_grad pass in later passes, whose
        # gradients then never reach the weights (pytorch/pytorch#112583).
        try:
            with adversarial.frozen(self.discriminator):
                score, _ = self.discriminator(fake)
        finally:  # also where memory runs out, which a training may survive
            self.discriminator.train(was_training)
        return score.float().sigmoid()

    def _real_input(self, image: Tensor, mask: Tensor) -> Tensor:
        return torch.cat([adversarial.one_hot_mask(mask, self.num_classes), self.scale_images(image)], dim=1)

    def _add_losses(self, pseudo_label: PseudoLabel, fake: Tensor, real: Tensor) -> None:
        real_score, real_feature = self.discriminator(real)
        fake_score, _ = self.discriminator(fake.detach())
        with adversarial.frozen(self.discriminator):
            _, fake_feature = self.discriminator(fake)
        matching = adversarial.feature_matching(real_feature.detach(), fake_feature)
        loss = adversarial.discriminator_loss(real_score, fake_score)
        pseudo_label.losses |= {"student": self.fm_weight * matching, "discriminator": loss}
        pseudo_label.logs |= {
            "loss/fm": matching.detach(),
            "loss/discriminator": loss.detach(),
            "d/score_real": real_score.detach().float().sigmoid().mean(),
            "d/score_fake": fake_score.detach().float().sigmoid().mean(),
        }


def _check_share(**settings: float) -> None:
    for name, value in settings.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"pseudo_label.{name}={value}: give a share of the run, from 0 to 1.")
