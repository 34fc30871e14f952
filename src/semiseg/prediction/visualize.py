"""One picture that explains a prediction: image, truth, classes, errors, confidence, would-be pseudo labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from PIL import Image, ImageDraw, ImageFont

from semiseg.contracts import IGNORE_INDEX
from semiseg.data.classes import ClassMap
from semiseg.data.masks import read_mask
from semiseg.errors import DataError, SemisegError
from semiseg.prediction.outputs import fitted, write_png
from semiseg.prediction.planes import CLASSES, CONFIDENCE
from semiseg.prediction.reading import Job
from semiseg.pseudo_label.thresholds import resolve_thresholds
from semiseg.samples import color_mask

UInt8 = NDArray[np.uint8]

SIDE = 512  # pixels of a panel's longer side at most
GAP, LINE = 8, 24
WHITE, BLACK, RED = (255, 255, 255), (20, 20, 20), (220, 30, 30)
FAINT = 0.25  # of an image where something else is to be seen
FONT = ImageFont.load_default(14)
DEFAULT_THRESHOLD = 0.65


def thresholds_of(config: DictConfig | None, names: Sequence[str]) -> list[float]:
    """Confidence above which a pixel would be a pseudo label, for each class.

    Those of the run's pseudo-labeler, else of its data set, else 0.65 for all. A labeler that judges whole images has
    none.
    """
    if config is None:
        return [DEFAULT_THRESHOLD] * len(names)
    for key in ("pseudo_label.class_thresholds", "data.class_thresholds"):
        chosen = OmegaConf.select(config, key)
        if chosen is not None:
            try:
                return resolve_thresholds(OmegaConf.to_container(chosen, resolve=True), DEFAULT_THRESHOLD, names)
            except SemisegError:  # of another data set
                continue
    alone = OmegaConf.select(config, "pseudo_label.threshold") if "class_thresholds" in config.pseudo_label else None
    return [DEFAULT_THRESHOLD if alone is None else float(alone)] * len(names)


def draw_explanation(
    image: UInt8, truth: UInt8 | None, classes: UInt8, percent: UInt8, mapping: ClassMap, thresholds: Sequence[float]
) -> Image.Image:
    """Panels side by side; those of the truth only where there is one. `percent` [H, W] is 255 without data."""
    panels: list[tuple[str, UInt8]] = [("image", image)]
    if truth is not None:
        panels.append(("truth", color_mask(truth, mapping.colors)))
    panels.append(("prediction", color_mask(classes, mapping.colors)))
    if truth is not None:
        known = (truth != IGNORE_INDEX) & (classes != IGNORE_INDEX)
        wrong = known & (truth != classes)
        share = wrong.sum() / max(1, known.sum())
        panels.append((f"error: {share:.1%}", marked(image, wrong, np.asarray(RED, dtype=np.uint8))))
    panels.append((f"confidence: mean {_mean(percent):.0%}", heat(percent)))
    kept = kept_pixels(classes, percent, thresholds)
    colors = color_mask(classes, mapping.colors)
    panels.append(
        (f"kept as pseudo labels: {kept.sum() / max(1, (classes != 255).sum()):.1%}", marked(image, kept, colors))
    )
    return _page(panels)


def kept_pixels(classes: UInt8, percent: UInt8, thresholds: Sequence[float]) -> NDArray[np.bool_]:
    """[H, W] whose confidence is above the threshold of their class, to a percent."""
    limit = np.full(256, np.inf)
    limit[: len(thresholds)] = (np.asarray(thresholds) * 100).round(6)  # 0.55 * 100 is a little more than 55
    return percent >= limit[classes]


def marked(image: UInt8, where: NDArray[np.bool_], color: UInt8) -> UInt8:
    """A faint grey image with `color` ([3] or [H, W, 3]) on the pixels `where`."""
    grey = image.mean(axis=2, keepdims=True) * FAINT + 255 * (1 - FAINT)
    return np.where(where[..., None], color, np.broadcast_to(grey, image.shape)).astype(np.uint8)


def heat(percent: UInt8) -> UInt8:
    """Confidence from dark (0) to light (100 percent); white without data."""
    colored = cv2.applyColorMap((np.minimum(percent, 100) * 2.55).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    colored = np.asarray(cv2.cvtColor(colored, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    colored[percent == IGNORE_INDEX] = 255
    return colored


def explain_job(path: Path, job: Job, mapping: ClassMap, thresholds: Sequence[float]) -> DataError | None:
    """Draw a finished image, no panel longer than SIDE; without its truth where that cannot be read, and why."""
    planes = job.planes
    assert planes is not None
    size = fitted(job.source.height, job.source.width, SIDE)
    truth: UInt8 | None = None
    problem: DataError | None = None
    if job.item.mask is not None:
        try:
            mask = read_mask(job.item.mask, mapping)
            truth = np.asarray(cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
        except DataError as error:
            problem = error
    classes, percent = (planes.thumbnail(plane, *size) for plane in (CLASSES, CONFIDENCE))
    write_png(path, draw_explanation(job.source.thumbnail(*size), truth, classes, percent, mapping, thresholds))
    return problem


def _mean(percent: UInt8) -> float:
    seen = percent[percent != IGNORE_INDEX]
    return float(seen.mean()) / 100 if seen.size else 0.0


def _page(panels: Sequence[tuple[str, UInt8]]) -> Image.Image:
    height, width = panels[0][1].shape[:2]
    column = max(width, *(round(FONT.getlength(title)) for title, _ in panels))
    page = Image.new("RGB", (len(panels) * (column + GAP) + GAP, height + LINE + 2 * GAP), WHITE)
    draw: Any = ImageDraw.Draw(page)
    for number, (title, picture) in enumerate(panels):
        left = GAP + number * (column + GAP)
        draw.text((left, GAP), title, BLACK, FONT)
        page.paste(Image.fromarray(picture), (left, GAP + LINE))
    return page
