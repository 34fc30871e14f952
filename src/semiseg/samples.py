"""Validation patches as image / truth / prediction, side by side."""

from __future__ import annotations

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


@torch.inference_mode()
def draw_samples(network: nn.Module, bundle: DataBundle, device: torch.device, count: int = 6) -> np.ndarray:
    """`count` validation patches spread over the pool, a row each: image, truth, prediction; uint8 RGB."""
    val = bundle.pools.val
    chosen = val[np.linspace(0, len(val) - 1, min(count, len(val))).astype(int)]
    training = network.training
    network.eval()
    rows = []
    for image, mask, *_ in eval_loader(bundle, chosen, batch_size=1):
        logits = network(normalize(image.to(device)))
        prediction = argmax_channel(mean_probability(logits))[0].cpu().numpy().astype(np.uint8)
        picture, truth = image[0].permute(1, 2, 0).numpy(), mask[0].numpy().astype(np.uint8)
        colors = bundle.classes.colors
        rows.append(side_by_side([picture, color_mask(truth, colors), color_mask(prediction, colors)]))
    network.train(training)
    return stack(rows)


def side_by_side(pictures: list[np.ndarray]) -> np.ndarray:
    """Pictures of one height in a row."""
    return cv2.copyMakeBorder(
        np.hstack([_framed(p) for p in pictures]), 0, GAP, 0, 0, cv2.BORDER_CONSTANT, value=(255,) * 3
    )


def _framed(picture: np.ndarray) -> np.ndarray:
    return cv2.copyMakeBorder(picture, 0, 0, 0, GAP, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def stack(rows: list[np.ndarray]) -> np.ndarray:
    """Rows below each other, narrower ones padded with white."""
    width = max(row.shape[1] for row in rows)
    padded = [cv2.copyMakeBorder(r, 0, 0, 0, width - r.shape[1], cv2.BORDER_CONSTANT, value=(255,) * 3) for r in rows]
    return np.vstack(padded)
