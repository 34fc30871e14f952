"""Validation patches as image / truth / prediction, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from semiseg.contracts import IGNORE_INDEX, argmax_channel, mean_probability
from semiseg.data.batches import normalize
from semiseg.data.build import DataBundle
from semiseg.data.loader import eval_loader

GAP = 4  # white pixels between pictures


def color_mask(mask: np.ndarray, colors: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    """Class ids as the mapping's colours, [H, W] -> uint8 RGB [H, W, 3]; ignored pixels are white."""
    table = np.full((256, 3), 255, np.uint8)
    table[: len(colors)] = colors
    table[IGNORE_INDEX] = 255
    return table[mask]


@dataclass(frozen=True)
class Examples:
    """K validation patches and what a network makes of them; smaller patches are padded at the right and bottom."""

    names: list[str]
    image: np.ndarray  # [K, H, W, 3] uint8 RGB
    truth: np.ndarray  # [K, H, W] uint8 class ids, 255 where ignored
    prediction: np.ndarray  # [K, H, W] uint8 class ids

    def save(self, path: Path) -> None:
        """A compressed .npz with an array an attribute."""
        np.savez_compressed(path, **vars(self))

    def draw(self, colors: tuple[tuple[int, int, int], ...]) -> np.ndarray:
        """A row a patch: image, truth, prediction; uint8 RGB."""
        rows = zip(self.image, self.truth, self.prediction, strict=True)
        return np.vstack([side_by_side([i, color_mask(t, colors), color_mask(p, colors)]) for i, t, p in rows])


@torch.inference_mode()
def predict_examples(network: nn.Module, bundle: DataBundle, device: torch.device, count: int = 6) -> Examples:
    """`count` patches spread evenly over the validation pool: the same for every run on the same data.

    One that cannot be read any more is black: a finished training does not fail for a picture.
    """
    val = bundle.pools.val
    chosen = val[np.linspace(0, len(val) - 1, min(count, len(val))).astype(int)]
    training = network.training
    network.eval()
    images, truths, predictions = [], [], []
    for image, mask, *_ in eval_loader(bundle, chosen, batch_size=1, skip_unreadable=True):
        logits = network(normalize(image.to(device)))
        images.append(image[0].permute(1, 2, 0).numpy())
        truths.append(mask[0].numpy().astype(np.uint8))
        predictions.append(argmax_channel(mean_probability(logits))[0].cpu().numpy().astype(np.uint8))
    network.train(training)
    names = [bundle.index.name(int(patch)) for patch in chosen]
    return Examples(names, _stacked(images, 0), _stacked(truths, IGNORE_INDEX), _stacked(predictions, 0))


def _stacked(pictures: list[np.ndarray], fill: int) -> np.ndarray:
    height, width = max(p.shape[0] for p in pictures), max(p.shape[1] for p in pictures)
    pads = [((0, height - p.shape[0]), (0, width - p.shape[1]), (0, 0))[: p.ndim] for p in pictures]
    return np.stack([np.pad(p, pad, constant_values=fill) for p, pad in zip(pictures, pads, strict=True)])


def side_by_side(pictures: list[np.ndarray]) -> np.ndarray:
    """Pictures of one height in a row."""
    return cv2.copyMakeBorder(
        np.hstack([_framed(p) for p in pictures]), 0, GAP, 0, 0, cv2.BORDER_CONSTANT, value=(255,) * 3
    )


def _framed(picture: np.ndarray) -> np.ndarray:
    return cv2.copyMakeBorder(picture, 0, 0, 0, GAP, cv2.BORDER_CONSTANT, value=(255, 255, 255))
