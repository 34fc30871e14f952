"""One training iteration: a labelled batch and an unlabelled batch in, named losses out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semiseg.contracts import Batch, StepOutput
from semiseg.losses import SegmentationLoss
from semiseg.methods.ema import Ema
from semiseg.models.base import SegmentationModel
from semiseg.pseudo_label import PseudoLabeler, audit


class SemiSupervised(nn.Module):
    """Supervised loss plus what the pseudo-labeler makes of the unlabelled batch.

    Supervised training, S4GAN, softmax self-training and distillation differ only in the pseudo-labeler: it says which
    pixels to trust and may add losses of its own, such as feature matching for the student, a discriminator's loss, or
    the distance from a teacher, which counts on labelled patches too.
    """

    def __init__(
        self,
        student: SegmentationModel,
        loss: SegmentationLoss,
        labeler: PseudoLabeler,
        num_classes: int,
        ema: Ema | None = None,
    ) -> None:
        super().__init__()
        self.student: SegmentationModel = student
        self.loss = loss
        self.labeler = labeler
        self.ema = ema
        self.num_classes = num_classes

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated and deployed: the average where there is one."""
        return self.student if self.ema is None else self.ema.network

    @property
    def discriminator(self) -> nn.Module | None:
        """The network that the pseudo-labeler trains, if it has one."""
        return dict(self.labeler.named_children()).get("discriminator")

    def labeler_state(self) -> dict[str, Tensor]:
        """State of the pseudo-labeler without its discriminator, which checkpoints keep under a name of its own, and
        without what it loads from elsewhere."""
        left_out = tuple(f"{name}." for name in ("discriminator", *self.labeler.from_elsewhere))
        return {k: v for k, v in self.labeler.state_dict().items() if not k.startswith(left_out)}

    def forward(self, batch: Batch, step: int) -> StepOutput:
        """All losses of one iteration, computed before any optimiser moves."""
        logits = self.student(batch.image)
        total, parts = self.loss(logits, batch.mask)
        logs = {f"loss/{name}": part for name, part in parts.items()}
        output = StepOutput({"student": total}, logs, images=len(batch.image))
        _add(output, *self.labeler.labeled_losses(logits, batch.image, batch.mask))
        if batch.unlabeled is not None and self.labeler.active(step):
            self._add_unlabeled(output, batch, batch.unlabeled, step)
        output.logs["loss/total"] = output.losses["student"].detach()
        return output

    def _add_unlabeled(self, output: StepOutput, batch: Batch, images: Tensor, step: int) -> None:
        teacher_logits = self._teacher_logits(images) if self.labeler.needs_teacher else None
        student_logits = self.student(images)
        output.images += len(images)
        real = None if batch.real_image is None else (batch.real_image, batch.real_mask)
        pseudo = self.labeler(student_logits, teacher_logits, images, real, step)
        _add(output, pseudo.losses, pseudo.logs)
        if self.labeler.self_training(step):
            st_loss, _ = (self.labeler.st_loss or self.loss)(student_logits, pseudo.masked_target())
            output.losses["student"] = output.losses["student"] + self.labeler.weight_at(step) * st_loss
            output.logs["loss/st"] = st_loss.detach()
            output.counts.update(audit(pseudo, batch.hidden_mask, self.num_classes))

    @torch.no_grad()
    def _teacher_logits(self, images: Tensor) -> Tensor:
        """Logits in eval mode: dropout off, BatchNorm reading its running statistics."""
        if self.labeler.teacher == "ema" and self.ema is not None:
            return self.ema(images)
        self.student.eval()
        try:
            return self.student(images)
        finally:  # also where memory runs out, which a training may survive
            self.student.train()


def _add(output: StepOutput, losses: dict[str, Tensor], logs: dict[str, Tensor]) -> None:
    for name, loss in losses.items():
        output.losses[name] = output.losses[name] + loss if name in output.losses else loss
    output.logs.update(logs)
