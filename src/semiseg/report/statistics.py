"""Can a difference between two recipes be told from chance? A paired bootstrap over validation images and seeds.

The unit of resampling is the base image ("source") where there are enough of them, since patches of one base image are
not independent of each other; otherwise it is the patch. A resample draws as many units as there are, with
replacement, and both recipes are scored on the same draw: what makes an image hard for both cancels out.

Images alone would answer only "are these two networks different on such images", and call the luck of a seed a
gain of the recipe. So each resample also draws the seeds of both sides with replacement (a two-level bootstrap).
Few seeds spread too little when drawn from each other, by sqrt((S - 1) / S), and know their own spread badly: both are
corrected, the second by Student's t. With a single seed on a side no verdict is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import numpy as np
from scipy.special import stdtrit

Unit = Literal["image", "source"]
Verdict = Literal["better", "worse", "not distinguishable", "too few seeds"]

SAMPLES = 2000
LEVEL = 0.95
MIN_SOURCES = 5  # four sources give only 35 different draws
CHUNK = 250  # resamples at a time: [250, 2,600] counts are 5 MiB


@dataclass(frozen=True)
class Difference:
    """Validation mIoU of a recipe minus that of another, with its 95 % interval."""

    mean: float
    low: float
    high: float
    verdict: Verdict
    unit: Unit
    samples: int

    def text(self) -> str:
        """`+0.0312 [+0.0105, +0.0519]`."""
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def resampling_units(sources: np.ndarray | None, patches: int) -> tuple[Unit, np.ndarray]:
    """What is drawn, and the number of the unit of each patch, [N]."""
    if sources is not None:
        names, numbers = np.unique(sources, return_inverse=True)
        if len(names) >= MIN_SOURCES:
            return "source", numbers.reshape(-1)
    return "image", np.arange(patches)


def by_unit(matrices: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Matrices summed within each unit, [N, C, C] -> [M, C * C] float64."""
    flat = matrices.reshape(len(matrices), -1).astype(np.float64)
    total = np.zeros((units.max() + 1, flat.shape[1]))
    np.add.at(total, units, flat)
    return total


def resampled_miou(cells: np.ndarray, excluded: Sequence[int], samples: int = SAMPLES) -> np.ndarray:
    """mIoU of all units and of each resample of them, [M, C * C] -> [1 + samples].

    The draws depend on M alone, so that every recipe on the same data meets the same ones.
    """
    counts = draws(len(cells), samples)
    parts = [miou(counts[first : first + CHUNK] @ cells, excluded) for first in range(0, len(counts), CHUNK)]
    return np.concatenate([miou(cells.sum(0)[None], excluded), *parts])


@lru_cache(maxsize=2)
def draws(units: int, samples: int) -> np.ndarray:
    """How often each unit is in each resample, [samples, units] float32: whole numbers, exact in it."""
    generator = np.random.default_rng(0)
    return generator.multinomial(units, np.full(units, 1 / units), size=samples).astype(np.float32)


def miou(cells: np.ndarray, excluded: Sequence[int]) -> np.ndarray:
    """Mean IoU of each summed confusion matrix, [R, C * C] -> [R]; classes in neither truth nor prediction are left
    out, and NaN stands where none is left."""
    classes = round(cells.shape[1] ** 0.5)
    matrix = cells.reshape(-1, classes, classes)
    hit = np.einsum("rcc->rc", matrix)
    union = matrix.sum(1) + matrix.sum(2) - hit
    counted = union > 0
    counted[:, list(excluded)] = False
    total = np.divide(hit, union, out=np.zeros_like(hit), where=counted).sum(1)
    number = counted.sum(1)
    return np.divide(total, number, out=np.full(len(total), np.nan), where=number > 0)


def difference(group: np.ndarray, baseline: np.ndarray, unit: Unit) -> Difference:
    """The interval and verdict from what `resampled_miou` gave for each seed, [S, 1 + samples] a side."""
    samples = group.shape[1] - 1
    # The sides draw their seeds from one generator after the other: a seed of one recipe is no partner of the other's.
    generator = np.random.default_rng(1)
    widened = for_few(len(group) + len(baseline) - 2)
    resampled = over_seeds(group[:, 1:], generator, widened) - over_seeds(baseline[:, 1:], generator, widened)
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(resampled, [tail, 1 - tail]) if np.isfinite(resampled).any() else (np.nan, np.nan)
    mean = float(group[:, 0].mean() - baseline[:, 0].mean())
    seeds = min(len(group), len(baseline))
    return Difference(mean, float(low), float(high), verdict(low, high, seeds), unit, samples)


def for_few(degrees: int) -> float:
    """By how much Student's quantile exceeds the normal one: three seeds know their own spread badly, too."""
    tail = (1 + LEVEL) / 2
    return float(stdtrit(degrees, tail) / NormalDist().inv_cdf(tail)) if degrees else 1.0


def over_seeds(scores: np.ndarray, generator: np.random.Generator, widened: float) -> np.ndarray:
    """Mean over a fresh draw of the seeds for each resample, [S, R] -> [R]; its spread is that of a mean of S values,
    which a draw of S out of S has not, times `widened`."""
    seeds, samples = scores.shape
    mean = scores.mean(0)
    if seeds == 1:
        return mean
    drawn = generator.integers(0, seeds, (seeds, samples))
    return mean + (np.take_along_axis(scores, drawn, 0).mean(0) - mean) * np.sqrt(seeds / (seeds - 1)) * widened


def verdict(low: float, high: float, seeds: int) -> Verdict:
    """The interval in words; `seeds` is the smaller number of the two sides."""
    if seeds < 2:
        return "too few seeds"
    if low > 0:
        return "better"
    return "worse" if high < 0 else "not distinguishable"
