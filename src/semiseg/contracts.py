"""The types that pass between data, methods and the engine.

Shapes: B labelled images, U unlabelled images, R real (second labelled batch), K heads, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

IGNORE_INDEX = 255


@dataclass
class Batch:
    """What one training step sees. Images are normalised floats; masks are class ids with 255 = ignored.

    `hidden_mask` is the truth of unlabelled patches where it exists. It is read to audit pseudo labels and never to
    train; it is 255 everywhere on patches without one.
    """

    image: Tensor  # [B, 3, H, W]
    mask: Tensor  # [B, H, W] int64
    unlabeled: Tensor | None = None  # [U, 3, h, w]
    hidden_mask: Tensor | None = None  # [U, h, w] int64
    real_image: Tensor | None = None  # [R, 3, h, w], the discriminator's "ground truth" batch
    real_mask: Tensor | None = None  # [R, h, w] int64

    def map(self, function) -> Batch:
        """A batch with `function` applied to every tensor it holds."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: function(t) for name, t in tensors.items() if t is not None})


@dataclass
class PseudoLabel:
    """What a pseudo-labeler makes of an unlabelled batch.

    `losses` holds what it wants trained beside the self-training loss, keyed by optimiser ("student",
    "discriminator"); `logs` what is worth showing, as tensors without gradient.
    """

    target: Tensor  # [U, h, w] int64 class ids
    keep: Tensor  # [U, h, w] bool
    losses: dict[str, Tensor] = field(default_factory=dict)
    logs: dict[str, Tensor] = field(default_factory=dict)

    def masked_target(self) -> Tensor:
        """Target with 255 on every pixel that is not kept, [U, h, w]."""
        return self.target.masked_fill(~self.keep, IGNORE_INDEX)


@dataclass
class StepOutput:
    """Losses keyed by the optimiser that takes them; until logged, `logs` are averaged and `counts` added up.

    `images` is how many the student was trained on, labelled and unlabelled.
    """

    losses: dict[str, Tensor]
    logs: dict[str, Tensor]
    counts: dict[str, Tensor] = field(default_factory=dict)
    images: int = 0


def as_heads(logits: Tensor) -> Tensor:
    """[B, C, H, W] or [K, B, C, H, W] -> [K, B, C, H, W]."""
    return logits if logits.dim() == 5 else logits.unsqueeze(0)


def mean_probability(logits: Tensor) -> Tensor:
    """Softmax averaged over the heads, [K, B, C, H, W] or [B, C, H, W] -> [B, C, H, W] float32."""
    return as_heads(logits).float().softmax(dim=2).mean(dim=0)


def argmax_channel(scores: Tensor) -> Tensor:
    """Class of the highest score, [B, C, H, W] -> [B, H, W]. `max().indices` is ten times faster than `argmax` here."""
    return torch.max(scores, dim=1).indices
