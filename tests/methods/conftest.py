"""A network of two layers with BatchNorm and dropout, and batches for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from semiseg.contracts import IGNORE_INDEX, Batch
from semiseg.losses import SegmentationLoss
from semiseg.methods import Ema, SemiSupervised
from semiseg.models.base import SegmentationModel
from semiseg.pseudo_label import DiscriminatorGate, NoPseudoLabels, PseudoLabeler, SoftmaxThreshold

CLASSES = ("soil", "road", "palm")
SIDE = 16  # four stride-2 convolutions of the discriminator


class TinyNet(SegmentationModel):
    """Encoder with BatchNorm, head with dropout, so that eval and train mode differ. Notes its mode at each pass."""

    def __init__(self) -> None:
        encoder = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        super().__init__(len(CLASSES), encoder, "tiny", encoder_weights=None)
        self.head = nn.Sequential(nn.Dropout2d(0.5), nn.Conv2d(4, len(CLASSES), 1))
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.modes.append((self.training, torch.is_grad_enabled()))
        return self.head(self.encoder(image))


@pytest.fixture
def batch() -> Batch:
    """Two labelled, two unlabelled and two real images; one row of the masks is ignored."""
    torch.manual_seed(0)
    images, masks = torch.randn(3, 2, 3, SIDE, SIDE), torch.randint(len(CLASSES), (3, 2, SIDE, SIDE))
    masks[:, :, 0] = IGNORE_INDEX
    return Batch(images[0], masks[0], images[1], masks[1], images[2], masks[2])


@pytest.fixture
def make_method() -> Callable[..., SemiSupervised]:
    """The method around a `TinyNet` in train mode, for a pseudo-labeler and perhaps an average."""

    def make(labeler: PseudoLabeler, ema_decay: float | None = None) -> SemiSupervised:
        torch.manual_seed(1)
        labeler.prepare(len(CLASSES), CLASSES, total_steps=100)
        student = TinyNet()
        ema = None if ema_decay is None else Ema(student, ema_decay)
        return SemiSupervised(student, SegmentationLoss(ce_weight=1.0), labeler, len(CLASSES), ema).train()

    return make


@pytest.fixture
def supervised() -> NoPseudoLabels:
    """No pseudo labels."""
    return NoPseudoLabels()


@pytest.fixture
def make_softmax() -> Callable[..., SoftmaxThreshold]:
    """Softmax pseudo labels from the first step on; with threshold 0 they keep every pixel."""

    def make(**settings) -> SoftmaxThreshold:
        return SoftmaxThreshold(**{"threshold": 0.0, "start_step": 0} | settings)

    return make


@pytest.fixture
def make_gate() -> Callable[..., DiscriminatorGate]:
    """A discriminator's gate from the first step on; with threshold 0 it keeps every image."""

    def make(**settings) -> DiscriminatorGate:
        return DiscriminatorGate(**{"optim": {}, "threshold": 0.0, "start_step": 0} | settings)

    return make
