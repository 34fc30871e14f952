"""Overlapping tiles to finished rows of an image, with no more in memory than the rows that are still open."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiseg.contracts import IGNORE_INDEX
from semiseg.prediction.tiling import Axis

UInt8 = NDArray[np.uint8]
Flags = NDArray[np.bool_]


def decide(probabilities: Tensor) -> Tensor:
    """Classes and confidence in whole percent, rounded down: [..., C, H, W] -> uint8 [..., 2, H, W] on its device."""
    confidence, classes = probabilities.max(dim=-3)
    decided = torch.empty(
        *confidence.shape[:-2], 2, *confidence.shape[-2:], dtype=torch.uint8, device=confidence.device
    )
    decided.select(-3, 0).copy_(classes)
    # A sum of weighted float32 may miss a round number by its last bit.
    decided.select(-3, 1).copy_(confidence.mul_(100).add_(1e-3).clamp_(0, 100))
    return decided


def without_holes(planes: UInt8, valid: Flags | None) -> UInt8:
    """[2, H, W] with 255 in both planes wherever the image has no data. `valid` None: data everywhere."""
    if valid is not None:
        planes[:, ~valid] = IGNORE_INDEX
    return planes


class Mosaic:
    """Takes the tiles of an image row by row and gives back strips that no later tile reaches.

    It holds the weighted probabilities of what the next tile to the right and the next row of tiles share with those
    seen: C * 4 bytes for each pixel of one overlap over the image's width (7 classes, 50,000 pixels, overlap 128:
    180 MB), on the device of the network. Finished pixels take two bytes.
    """

    def __init__(self, rows: Axis, columns: Axis, num_classes: int, device: torch.device) -> None:
        self.rows, self.columns, self.num_classes, self.device = rows, columns, num_classes, device
        self._row_weights = torch.from_numpy(rows.weights).to(device)
        self._column_weights = torch.from_numpy(columns.weights).to(device)
        shared = max((rows.size - rows.step(n) for n in range(len(rows) - 1)), default=0)
        self._below = torch.zeros(num_classes, shared, columns.length, device=device)
        self._from_above = 0  # rows of `_below` that belong to this row of tiles
        self._right = torch.zeros(num_classes, rows.size, 0, device=device)
        tallest = max(rows.step(n) for n in range(len(rows)))
        self._strip = torch.empty(2, tallest, columns.length, dtype=torch.uint8, device=device)
        self._valid = np.ones((tallest, columns.length), dtype=np.bool_)

    @property
    def held_bytes(self) -> int:
        """All that is kept between two tiles."""
        tensors = (self._below, self._right, self._strip, self._row_weights, self._column_weights)
        return sum(t.numel() * t.element_size() for t in tensors) + self._valid.nbytes

    def add(self, row: int, column: int, probabilities: Tensor | None, valid: Flags | None = None) -> UInt8 | None:
        """The tile (row, column), in row-major order: [C, size, size], None where it shows nothing but holes.

        Returns [2, step, W] classes and percent after the last tile of a row, with 255 where `valid` [size, size] is
        false.
        """
        open_part = self._weighted(row, column, probabilities)
        open_part[:, :, : self._right.shape[2]] += self._right
        left, width, height = self.columns.starts[column], self.columns.step(column), self.rows.step(row)
        # A copy: the view would keep the whole tile.
        self._right = open_part[:, :, width:].clone()
        done = open_part[:, :, :width]
        here = slice(left, left + width)
        done[:, : self._from_above] += self._below[:, : self._from_above, here]
        self._below[:, : self.rows.size - height, here] = done[:, height:]
        if probabilities is not None:  # else holes, whatever the neighbours say
            self._strip[:, :height, here] = decide(done[:, :height])
        self._valid[:height, here] = probabilities is not None if valid is None else valid[:height, :width]
        return self._finish_row(row) if column + 1 == len(self.columns) else None

    def _weighted(self, row: int, column: int, probabilities: Tensor | None) -> Tensor:
        if probabilities is None:
            return torch.zeros(self.num_classes, self.rows.size, self.columns.size, device=self.device)
        weight = self._row_weights[row][:, None] * self._column_weights[column]
        return probabilities * weight

    def _finish_row(self, row: int) -> UInt8:
        height = self.rows.step(row)
        self._from_above = self.rows.size - height
        self._right = self._right[:, :, :0]
        return without_holes(self._strip[:, :height].cpu().numpy(), self._valid[:height])
