"""Time and memory of indexing 370,647 patches in the salak layout.

python benchmarks/index.py

The files are empty: an index reads names only. The first round is not counted, so both walks are warm.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from semiseg.data.index import PatchIndex, cached_index
from semiseg.data.layouts.salak import SalakLayout

PATCHES = 370_647
MASK_EVERY = 29  # gives 12,781 masks, near the 12,856 of the Salak data set
FOLDERS = 9
GRID = 17  # patches a row of a base image, and rows
REPEATS = 3


def make_tree(root: Path) -> None:
    """Empty files as a drone's base images would be cut."""
    for folder in range(FOLDERS):
        images, masks = root / f"salak-1-{folder}" / "images", root / f"salak-1-{folder}" / "masks"
        images.mkdir(parents=True)
        masks.mkdir()
        for number in range(folder, PATCHES, FOLDERS):
            base, patch = divmod(number // FOLDERS, GRID * GRID)
            name = f"DJI_20240611_{folder:02d}{base:04d}_patch_{patch // GRID:03d}_{patch % GRID:03d}.png"
            (images / name).touch()
            if number % MASK_EVERY == 0:
                (masks / name).touch()


def walk(folder: str) -> int:
    """The bare walk to hold the index against: visit every file once, keep nothing."""
    files = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            files += walk(entry.path) if entry.is_dir(follow_symlinks=False) else 1
    return files


def indexed(root: Path, cache: Path) -> PatchIndex:
    """What a run does at start."""
    layout = SalakLayout()
    return cached_index(layout.scan, root, cache, layout.key(root))


def cold(root: Path, cache: Path) -> PatchIndex:
    for file in cache.glob("index-*.npz"):
        file.unlink()
    return indexed(root, cache)


def medians(*functions: Callable[[], object]) -> list[float]:
    """Median seconds of each function. They take turns, so that a busy moment of the machine meets all of them."""
    rounds = [[_seconds(function) for function in functions] for _ in range(REPEATS + 1)]
    return [statistics.median(times) for times in zip(*rounds[1:], strict=True)]


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak_mib(function: Callable[[], object]) -> float:
    """Most memory that Python and NumPy held at one time beyond what they held before."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def main() -> None:
    """Make the files, measure, print the table."""
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder) / "data", Path(folder) / "cache"
        make_tree(root)
        bare, first, again = medians(
            partial(walk, str(root)), partial(cold, root, cache), partial(indexed, root, cache)
        )
        memory = max(peak_mib(partial(cold, root, cache)), peak_mib(partial(indexed, root, cache)))
        index = indexed(root, cache)
    table = Table(title=f"Index of {len(index):,} patches, {int(index.has_mask.sum()):,} masks, median of {REPEATS}")
    for column in ("measure", "result", "target"):
        table.add_column(column, justify="left" if column == "measure" else "right")
    table.add_row("bare os.scandir walk", f"{bare:.3f} s", "")
    table.add_row("cold index, written to the cache", f"{first:.3f} s ({first / bare:.2f}x)", "1.5x or less")
    table.add_row("cached index", f"{again:.3f} s", "below 1 s")
    table.add_row("peak extra memory", f"{memory:.0f} MiB", "below 200 MiB")
    Console().print(table)


if __name__ == "__main__":
    main()
