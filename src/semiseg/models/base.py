"""What every segmentation network of the suite offers to methods and engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from semiseg.errors import ConfigError
from semiseg.models.weights import WeightsReport, load_encoder_weights

LARGEST_COUNT = 4096  # channels, heads or cells: more fits no memory


def check_counts(**settings: int | Sequence[int]) -> None:
    """ConfigError for the first setting, or list of them, that is not from 1 to `LARGEST_COUNT`."""
    for name, value in settings.items():
        for count in [value] if isinstance(value, int) else value:
            if not 1 <= count <= LARGEST_COUNT:
                raise ConfigError(f"model.{name}={value} is not possible: use 1 to {LARGEST_COUNT}")


class SegmentationModel(nn.Module):
    """An encoder and a head: image [B, 3, H, W] -> logits at the image's own size, for any H and W from about 33.

    Subclasses add what follows the encoder and implement `forward`: [B, C, H, W], or [K, B, C, H, W] with K heads.

    Raises:
        ConfigError: fewer than two classes.
        CheckpointError: the encoder's weights cannot be had.
    """

    smallest_batch = 1  # images in training; 2 where BatchNorm follows a global pooling

    def __init__(self, num_classes: int, encoder: nn.Module, encoder_name: str, encoder_weights: str | None) -> None:
        super().__init__()
        if num_classes < 2:
            raise ConfigError(f"a segmentation network needs at least 2 classes, got num_classes={num_classes}")
        self.num_classes = num_classes
        self.encoder = encoder
        self.weights_report: WeightsReport | None = load_encoder_weights(encoder, encoder_name, encoder_weights)

    @property
    def origin(self) -> str | None:
        """Where its weights are from, in a line for the log; None for random ones and those that are still to come."""
        return None if self.weights_report is None else f"Encoder weights: {self.weights_report}"

    def parameter_roles(self) -> dict[str, list[nn.Parameter]]:
        """Every trainable parameter once, under "encoder", "head" or "head_bias", for the optimiser's groups.

        "head" is all that is not the encoder. "head_bias" is empty save where a recipe gives the head's biases a
        learning rate of their own.
        """
        encoder = [p for p in self.encoder.parameters() if p.requires_grad]
        known = set(map(id, encoder))
        head = [p for p in self.parameters() if p.requires_grad and id(p) not in known]
        return {"encoder": encoder, "head": head, "head_bias": []}

    def adopt(self, state: Mapping[str, Tensor]) -> None:
        """Called with the tensors that are about to be loaded: a network whose widths they decide takes them on."""

    def check_batch(self, images: int) -> None:
        """Raises ConfigError for a batch that is too small to train on."""
        if images < self.smallest_batch:
            raise ConfigError(
                f"{type(self).__name__} cannot train on a batch of {images} image: after its global pooling BatchNorm "
                "would see one value a channel. Set trainer.batch_size and trainer.unlabeled_batch_size to 2 or more."
            )
