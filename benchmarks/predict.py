"""Megapixels a second of `semiseg predict` against the bare model on the same tiles, alternating in one process.

    python benchmarks/predict.py run=PATH [patches=400] [side=3000] [rounds=3] [KEY=VALUE of semiseg predict ...]

Two inputs: a folder of PNG patches of 256x256 pixels, and one GeoTIFF of side x side pixels. `predict` is everything
from opening the files to the last output under its name, loading the model left out; `bare` is nothing but the
network's probabilities of the same tiles, in the same batches, decoded and stacked before. It should reach 85 %.

On a machine that does other work as well the clock says little: the share of processor time stands beside it, and what
a tile costs without the network (one that answers at once with what it remembers), in all threads and in the main one,
which is what bounds the speed where the network runs on a GPU. The peak is the memory of the process after each input.
"""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from semiseg.config import settings
from semiseg.data.masks import read_image
from semiseg.engine.device import peak_memory_mib, pick_device
from semiseg.errors import SemisegError
from semiseg.prediction import predict_files
from semiseg.prediction.inputs import find_items
from semiseg.prediction.options import PredictConfig
from semiseg.prediction.place import geo
from semiseg.prediction.sources import open_source
from semiseg.prediction.tiling import lay_out
from semiseg.trained import Trained, load_trained

SIDE = 256  # of a patch


def make_picture(height: int, width: int, seed: int) -> np.ndarray:
    """[H, W, 3] blotches with some noise on them, which compress about as aerial photographs do."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return (smooth + rng.integers(-12, 13, smooth.shape, dtype=np.int16)).clip(0, 255).astype(np.uint8)


def make_inputs(folder: Path, patches: int, side: int) -> dict[str, Path]:
    """A folder of patches, and a tiled and compressed raster."""
    (folder / "patches").mkdir()
    for number in range(patches):
        cv2.imwrite(str(folder / "patches" / f"a_patch_{number:05d}.png"), make_picture(SIDE, SIDE, number))
    raster = folder / "flight.tif"
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8", "tiled": True}
    place = {"crs": "EPSG:32749", "transform": geo().Affine(0.1, 0, 430_000, 0, -0.1, 9_160_000)}
    with geo().open(raster, "w", compress="deflate", **profile, **place) as file:
        file.write(np.moveaxis(make_picture(side, side, 0), -1, 0))
    return {"patches": folder / "patches", "raster": raster}


def make_batches(path: Path, cfg: PredictConfig) -> list[Tensor]:
    """The batches that `predict` makes of an input, uint8 [B, 3, h, w]."""
    if path.is_dir():
        images = [read_image(item.path) for item in find_items(path, path / "out")]
        size = cfg.tiling.full_batch(SIDE, SIDE)
    else:
        source = open_source(path)
        rows, columns = (lay_out(side, cfg.tile, cfg.overlap) for side in (source.height, source.width))
        places = itertools.product(rows.starts, columns.starts)
        images = [source.read(top, left, rows.size, columns.size)[0] for top, left in places]
        source.close()
        size = cfg.batch
    stacks = [np.stack(images[start : start + size]) for start in range(0, len(images), size)]
    return [torch.from_numpy(stack).permute(0, 3, 1, 2) for stack in stacks]


def predicting(trained: Trained, cfg: PredictConfig, path: Path) -> Callable[[], None]:
    """The verb on an input, into a new folder each time."""

    def run() -> None:
        out = Path(cfg.out)
        shutil.rmtree(out, ignore_errors=True)
        predict_files(trained, find_items(path, out), cfg, Console(file=StringIO())).conclude()

    return run


def bare(trained: Trained, batches: list[Tensor]) -> Callable[[], None]:
    def run() -> None:
        for batch in batches:
            trained.probabilities(batch)
        if trained.device.type == "cuda":
            torch.cuda.synchronize()

    return run


class Remembered:
    """A system that costs nothing: its probabilities are those of the first batch of the same shape."""

    def __init__(self, trained: Trained) -> None:
        self.trained = trained
        self._found: dict[torch.Size, Tensor] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.trained, name)

    def probabilities(self, images: Tensor) -> Tensor:
        if images.shape not in self._found:
            self._found[images.shape] = self.trained.probabilities(images)
        return self._found[images.shape]


class Took(NamedTuple):
    """Seconds: by the clock, of all threads of the process, and of the calling one."""

    wall: float
    cpu: float
    main: float


def timed(work: Callable[[], None]) -> Took:
    begin = (time.perf_counter(), time.process_time(), time.thread_time())
    work()
    end = (time.perf_counter(), time.process_time(), time.thread_time())
    return Took(*(after - before for before, after in zip(begin, end, strict=True)))


def alternate(loops: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[Took]]:
    """Each in turn, in an order that turns; the round before the first warms up."""
    taken: dict[str, list[Took]] = {name: [] for name in loops}
    for number in range(rounds + 1):
        for name in list(loops) if number % 2 else list(loops)[::-1]:
            took = timed(loops[name])
            if number:
                taken[name].append(took)
    return taken


def measure(trained: Trained, cfg: PredictConfig, path: Path, rounds: int) -> str:
    """A row of the table."""
    batches = make_batches(path, cfg)
    taken = alternate({"predict": predicting(trained, cfg, path), "bare": bare(trained, batches)}, rounds)
    free: Any = Remembered(trained)
    own = alternate({"own": predicting(free, cfg, path)}, rounds)["own"]
    pixels = sum(batch.shape[0] * batch.shape[2] * batch.shape[3] for batch in batches) / 1e6
    tiles = sum(len(batch) for batch in batches)
    speed = {name: pixels / statistics.median(took.wall for took in values) for name, values in taken.items()}
    pairs = list(zip(taken["bare"], taken["predict"], strict=True))
    wall, cpu = (statistics.median(getattr(b, kind) / getattr(p, kind) for b, p in pairs) for kind in ("wall", "cpu"))
    all_threads, main = (1000 * statistics.median(getattr(o, kind) for o in own) / tiles for kind in ("cpu", "main"))
    return (
        f"| {path.name} | {len(batches)} x {list(batches[0].shape)} | {speed['bare']:.2f} | {speed['predict']:.2f} | "
        f"{wall:.1%} | {cpu:.1%} | {all_threads:.2f} | {main:.2f} | {peak_memory_mib(torch.device('cpu')):,.0f} |"
    )


def load() -> str:
    """How busy the machine is, over its processors; unknown on Windows."""
    return f"{os.getloadavg()[0]:.1f} of {os.cpu_count()}" if hasattr(os, "getloadavg") else "unknown"


def read_arguments(typed: list[str]) -> tuple[dict[str, int], dict[str, Any]]:
    """Sizes of the inputs, and settings of `semiseg predict`; ends the program where `run` is not among them."""
    counts: dict[str, Any] = {"patches": 400, "side": 3000, "rounds": 3}
    given: dict[str, Any] = {}
    for key, _, value in (argument.partition("=") for argument in typed):
        if key in counts and not value.isdigit():
            sys.exit(f"{key}={value}: write a whole number, such as {key}={counts[key]}")
        (counts if key in counts else given)[key] = int(value) if value.isdigit() else value
    if not given.get("run"):
        sys.exit("run= is missing: write python benchmarks/predict.py run=PATH, the folder of a finished run")
    return counts, given


def main() -> None:
    """Measure both inputs and print the table."""
    counts, given = read_arguments(sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        try:
            cfg = settings(PredictConfig, {"out": str(Path(folder) / "out"), **given}, "")
            trained = load_trained(cfg.run, pick_device(cfg.device))
        except SemisegError as error:
            sys.exit(str(error))
        print(
            f"{trained.name} on {trained.device}, {torch.get_num_threads()} threads, tile {cfg.tile}, batch {cfg.batch}"
        )
        print(f"load {load()} before")
        print(
            "| input | batches | bare, megapixels of tiles/s | predict | predict / bare | by processor time | "
            "own ms a tile | in the main thread | peak MiB |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        for path in make_inputs(Path(folder), counts["patches"], counts["side"]).values():
            print(measure(trained, cfg, path, counts["rounds"]), flush=True)
        print(f"load {load()} after")


if __name__ == "__main__":
    main()
