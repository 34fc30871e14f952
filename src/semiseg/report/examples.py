"""The same validation patches as image, truth and each system's prediction, its errors marked."""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath

from semiseg.report.collect import Run
from semiseg.report.drawing import (
    DPI,
    INK,
    MUTED,
    Picture,
    add_legend,
    looks,
    selection,
    sentences,
    set_title,
    wrapped,
)
from semiseg.report.group import Cohort, Group

FILE = "examples.npz"
IGNORE_INDEX = 255  # as in semiseg.contracts, whose import of PyTorch would take most of a short report's time
SYSTEMS = 8  # columns beside image and truth
ROW_LABEL, ROW_FONT = (16, 4), 7.5  # letters and lines of a patch name at its row, and their size in points
TILE, GAP, FOOT = 150, 6, 18  # pixels: height of a patch, between two, and below one for its score
NEUTRAL = (226, 228, 232)  # ignored pixels
WRONG = (226, 20, 60)
PALE = 0.72  # share of white in the colour of a pixel that is right
FALLBACK = (
    (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75), (227, 119, 194),
    (127, 127, 127), (188, 189, 34), (23, 190, 207),
)  # fmt: skip


@dataclass(frozen=True)
class Patches:
    """The examples.npz of a run: K patches and what its best weights make of them."""

    names: tuple[str, ...]
    image: np.ndarray  # [K, H, W, 3] uint8 RGB
    truth: np.ndarray  # [K, H, W] uint8 class ids, 255 where ignored
    prediction: np.ndarray  # [K, H, W] uint8 class ids


def read_patches(folder: Path) -> Patches | None:
    """None where the file is missing, damaged or of other arrays."""
    try:
        # Opened here, because np.load leaves the file open where it is no archive.
        with (folder / FILE).open("rb") as file, np.load(file) as arrays:
            names = tuple(str(name) for name in arrays["names"])
            found = Patches(names, *(np.asarray(arrays[key], np.uint8) for key in ("image", "truth", "prediction")))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    fits = found.image.shape == (*found.truth.shape, 3) and found.prediction.shape == found.truth.shape
    return found if fits and 0 < len(names) == len(found.truth) else None


def example_pictures(cohort: Cohort) -> Iterator[Picture]:
    """One picture with a row a patch and a column a system; none where no run kept examples."""
    shown = list(looks(cohort))[:SYSTEMS]
    found = [(group, patches) for group in shown if (patches := read_patches(group.runs[0].folder)) is not None]
    if not found:
        return
    usual = Counter((patches.names, patches.truth.shape) for _, patches in found).most_common(1)[0][0]
    alike = [(group, patches) for group, patches in found if (patches.names, patches.truth.shape) == usual]
    others = [group.name for group, patches in found if (patches.names, patches.truth.shape) != usual]
    figure = _draw(alike)
    caption = sentences(
        "Pale: the prediction is right. In full colour with a red outline: it is wrong, and the colour is that of the "
        "predicted class. Grey: ignored pixels. Below each patch the share of its pixels that is right; the best "
        "weights of the first seed of each recipe.",
        selection(cohort, len(shown)),
        f"Left out, because their examples are other patches: {', '.join(others)}." if others else "",
        *_left_out(shown, found),
    )
    yield Picture("examples", "The same patches in every system", caption, figure)


def _left_out(shown: Sequence[Group], found: Sequence[tuple[Group, Patches]]) -> list[str]:
    """The sentences on recipes whose examples are missing or damaged."""
    known = [group for group, _ in found]
    without = [group for group in shown if group not in known]
    damaged = [group for group in without if (group.runs[0].folder / FILE).is_file()]
    named = {"without examples": [group.name for group in without if group not in damaged]}
    named["damaged"] = [f"{group.name} ({(group.runs[0].folder / FILE).as_posix()})" for group in damaged]
    return [f"Left out, {why}: {', '.join(names)}." for why, names in named.items() if names]


def _draw(systems: Sequence[tuple[Group, Patches]]) -> Figure:
    """All patches as one bitmap, which is drawn far faster than a plot each; names and scores as text on it."""
    first = systems[0][1]
    colors = color_table(systems[0][0].runs[0])
    columns = [
        [_photo(image) for image in first.image],
        [_tile(colors[truth]) for truth in first.truth],
        *(
            [_tile(marked(t, p, colors)) for t, p in zip(each.truth, each.prediction, strict=True)]
            for _, each in systems
        ),
    ]
    sheet, width = _sheet(columns)
    lines = max(wrapped(group.name, _letters(width)).count("\n") + 1 for group, _ in systems)
    margin, top = 40 + _row_label_width(first.names), 44 + 17 * lines
    size = ((sheet.shape[1] + margin) / DPI, (sheet.shape[0] + top) / DPI)
    figure = Figure(figsize=size, layout="constrained")
    set_title(figure, "The same patches in every system")
    axes = figure.add_subplot(anchor="E")  # what the width leaves over goes to the names at the left
    axes.imshow(sheet, aspect="equal")
    axes.set_axis_off()
    _write(axes, systems, width)
    _explain(figure, systems[0][0].runs[0], first, colors)
    return figure


def color_table(run: Run) -> np.ndarray:
    """RGB of every id, [256, 3] uint8: the data set's colours, else a palette; ignored pixels are neutral."""
    table = np.resize(np.array(FALLBACK, np.uint8), (256, 3))
    found = run.summary.get("colors")
    if isinstance(found, dict) and found:
        table[: len(found)] = list(found.values())
    table[IGNORE_INDEX] = NEUTRAL
    return table


def marked(truth: np.ndarray, prediction: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """A prediction with its errors marked, [H, W] x [H, W] -> [TILE, W', 3] uint8: pale where it is right, in full
    colour and outlined where it is wrong, neutral where the truth is ignored."""
    height, width = TILE, _width(truth)
    truth, prediction = (
        cv2.resize(each, (width, height), interpolation=cv2.INTER_NEAREST) for each in (truth, prediction)
    )
    valid = truth != IGNORE_INDEX
    wrong = valid & (truth != prediction)
    picture = colors[prediction].astype(np.float32)
    pale = picture * (1 - PALE) + 255 * PALE
    picture = np.where(wrong[..., None], picture, pale).astype(np.uint8)
    picture[~valid] = NEUTRAL
    inner = cv2.erode(wrong.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    picture[wrong & (inner == 0)] = WRONG
    return picture


def share_right(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Share of the pixels with a truth that are predicted right; NaN without any."""
    valid = truth != IGNORE_INDEX
    return float((truth == prediction)[valid].mean()) if valid.any() else float("nan")


def _width(patch: np.ndarray) -> int:
    """Of a tile: that of the patch at the tile's height, within bounds."""
    return int(np.clip(round(TILE * patch.shape[1] / patch.shape[0]), TILE // 2, TILE * 2))


def _letters(width: int) -> int:
    """How many bold letters of a heading fit above a tile of `width` pixels."""
    return max(6, int(width * 72 / DPI / 5.9))


def _row_label_width(names: Sequence[str]) -> int:
    """Pixels that the longest line of the patch names takes: measured, since an "m" is four times as wide as an "i"."""
    lines = [line for name in names for line in wrapped(name, *ROW_LABEL).splitlines()]
    widths = (TextPath((0, 0), line, size=ROW_FONT, usetex=False).get_extents().width for line in lines)
    return round(max(widths, default=0) * DPI / 72)


def _photo(image: np.ndarray) -> np.ndarray:
    shrinks = image.shape[0] > TILE
    return cv2.resize(image, (_width(image), TILE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _tile(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(picture, (_width(picture), TILE), interpolation=cv2.INTER_NEAREST)


def _sheet(columns: Sequence[Sequence[np.ndarray]]) -> tuple[np.ndarray, int]:
    """Tiles side by side on a transparent sheet, uint8 RGBA, and the width of a tile."""
    rows, width = len(columns[0]), columns[0][0].shape[1]
    sheet = np.zeros((rows * (TILE + GAP + FOOT), len(columns) * (width + GAP), 4), np.uint8)
    for x, column in enumerate(columns):
        for y, tile in enumerate(column):
            top, left = y * (TILE + GAP + FOOT), x * (width + GAP)
            sheet[top : top + TILE, left : left + width, :3] = tile
            sheet[top : top + TILE, left : left + width, 3] = 255
    return sheet, width


def _write(axes: Axes, systems: Sequence[tuple[Group, Patches]], width: int) -> None:
    """Headings above the columns, patch names at the rows, and the share of right pixels below the tiles."""
    heads = ["image", "truth", *(group.name for group, _ in systems)]
    for x, head in enumerate(heads):
        middle = x * (width + GAP) + width / 2
        axes.text(middle, -8, wrapped(head, _letters(width)), ha="center", va="bottom", fontsize=9, fontweight="bold")
    for y, name in enumerate(systems[0][1].names):
        top = y * (TILE + GAP + FOOT)
        axes.text(
            -10, top + TILE / 2, wrapped(name, *ROW_LABEL), ha="right", va="center", fontsize=ROW_FONT, color=MUTED
        )
        for x, (_, patches) in enumerate(systems, start=2):
            right = share_right(patches.truth[y], patches.prediction[y])
            text = "" if np.isnan(right) else f"{right:.0%}"
            axes.text(x * (width + GAP) + width / 2, top + TILE + 3, text, ha="center", va="top", fontsize=8, color=INK)


def _explain(figure: Figure, run: Run, patches: Patches, colors: np.ndarray) -> None:
    """A legend of the classes that occur."""
    names = run.classes
    ids = [int(number) for number in np.unique(patches.truth) if number != IGNORE_INDEX]
    texts = [names[number] if number < len(names) else f"class {number}" for number in ids]
    patch = {"marker": "s", "linestyle": "", "markersize": 9, "markeredgecolor": MUTED}
    handles = [Line2D([], [], markerfacecolor=tuple(colors[number] / 255), **patch) for number in ids]  # type: ignore[arg-type]
    if handles:
        add_legend(figure, handles, texts)
