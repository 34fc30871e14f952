"""One large GeoTIFF through `semiseg predict`: wall time, megapixels a second and the peak memory of its processes.

    python benchmarks/raster.py [side=4000] [run=PATH] [data=PATH] [KEY=VALUE of semiseg predict ...]

The raster has side x side pixels: patches of dubai-landcover (data=PATH) in a random order, compressed without loss. It
and the maps lie in runs/benchmark/raster-SIDE (some 8 bytes a pixel) and are removed at the end. Without run= an
untrained convolution on every sixteenth pixel predicts seven classes, so that reading, blending and writing are
measured. All outputs are written unless outputs=[...] says less. The prediction runs in a process of its own; its
memory and that of all processes below it, resident pages added up, is looked at five times a second. The target for
50,000 x 50,000 pixels is 4 GiB.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import interpolate

from common import DUBAI, PROJECT
from semiseg.config import settings
from semiseg.data.classes import ClassMap
from semiseg.data.masks import read_image
from semiseg.engine.device import pick_device
from semiseg.prediction import predict_files
from semiseg.prediction.inputs import find_items
from semiseg.prediction.options import PredictConfig
from semiseg.prediction.outputs import KINDS
from semiseg.prediction.place import geo
from semiseg.trained import System, load_predictor

SIDE, PATCHES, ROWS = 256, 400, 512  # of a patch; patches that are repeated; rows that are written at a time
CLASSES = 7
STRIDE = 16  # of the small network: its classes form areas, as those of a real one do
EVERY = 0.2  # seconds between two looks at the memory
TARGET = 4.0  # GiB


class Small:
    """A system without a run: one untrained convolution on every sixteenth pixel, its probabilities made larger."""

    name, summary = "small", {}
    classes = ClassMap(
        tuple(f"class {number}" for number in range(CLASSES)), tuple((36 * n, 255 - 36 * n, 60) for n in range(CLASSES))
    )
    config = OmegaConf.create({"model": {"name": "small"}, "pseudo_label": {}})

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.folder, self.weights, self.device = folder, folder / "small.pth", device
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, CLASSES, 3, padding=1, padding_mode="replicate").to(device)
        torch.save(self.convolution.state_dict(), self.weights)

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] to [B, 7, H, W]."""
        few = images[..., ::STRIDE, ::STRIDE].to(self.device).float() / 32 - 4
        return interpolate(self.convolution(few).softmax(1), size=images.shape[-2:], mode="bilinear")


def read_patches(root: Path) -> list[NDArray[np.uint8]]:
    """Patches from all over a data set."""
    files = sorted(root.glob("*/images/*.*"))
    if not files:
        raise SystemExit(f"{root} holds no patches in */images. Name dubai-landcover with data=PATH or SEMISEG_DUBAI.")
    images = (read_image(file) for file in files[:: max(1, len(files) // PATCHES)])
    return [image for image in images if image.shape == (SIDE, SIDE, 3)]


def write_raster(path: Path, side: int, patches: list[NDArray[np.uint8]]) -> None:
    """A tiled and compressed GeoTIFF of patches in a random order, 10 cm a pixel."""
    rasterio, rng = geo(), np.random.default_rng(0)
    place = {"crs": "EPSG:32640", "transform": rasterio.Affine(0.1, 0, 320_000, 0, -0.1, 2_780_000)}
    tiles = {"tiled": True, "blockxsize": ROWS, "blockysize": ROWS, "bigtiff": "if_safer", "photometric": "rgb"}
    packing = {"compress": "deflate", "predictor": 2, "zlevel": 1, "num_threads": "all_cpus"}
    profile = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8", "interleave": "pixel"}
    across = -(-side // SIDE)
    with rasterio.open(path, "w", **profile, **place, **tiles, **packing) as raster:
        for top in range(0, side, ROWS):
            order = rng.integers(len(patches), size=(ROWS // SIDE, across))
            strip = np.concatenate([np.concatenate([patches[n] for n in row], axis=1) for row in order])
            strip = strip[: side - top, :side]
            raster.write(np.moveaxis(strip, -1, 0), window=rasterio.windows.Window(0, top, side, len(strip)))


def predict(folder: Path, given: dict[str, Any]) -> None:
    """What the child process does: the verb, with what it says a minute."""
    typed = {key: value for key, value in given.items() if key != "outputs"}
    kinds = str(given.get("outputs", ",".join(KINDS))).strip("[]").split(",")
    cfg = settings(PredictConfig, {"run": "small", "out": str(folder / "out"), "outputs": kinds, **typed}, "")
    device = pick_device(cfg.device)
    system: System = load_predictor(cfg.run, device, cfg.backend) if "run" in given else Small(folder, device)
    terminal = Console(highlight=False, force_terminal=False)
    predict_files(system, find_items(folder / "flight.tif", folder / "out"), cfg, terminal).conclude()


def watched(command: list[str]) -> tuple[float, float, float]:
    """Wall seconds and processor seconds of a command, and the peak of the memory of it and all below it in GiB.

    Raises SystemExit where it fails.
    """
    begin, peak, cpu = time.perf_counter(), 0, 0.0
    child = psutil.Popen(command)
    while child.poll() is None:
        try:
            processes = [child, *child.children(recursive=True)]
            peak = max(peak, sum(each.memory_info().rss for each in processes))
            cpu = sum(sum(each.cpu_times()[:2]) for each in processes)
        except psutil.Error:  # one ended meanwhile
            pass
        time.sleep(EVERY)
    if child.returncode:
        raise SystemExit(f"The prediction failed with exit status {child.returncode}.")
    return time.perf_counter() - begin, cpu, peak / 2**30


def size_of(folder: Path) -> float:
    """GB of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e9


def measure(folder: Path, side: int, root: Path, arguments: list[str]) -> None:
    """Write the raster, predict it and print what it took."""
    begin = time.perf_counter()
    write_raster(folder / "flight.tif", side, read_patches(root))
    seconds, written = time.perf_counter() - begin, size_of(folder)
    print(f"{side:,} x {side:,} pixels, {written:.2f} GB, written in {seconds:,.0f} s", flush=True)
    load = f"{psutil.getloadavg()[0]:.1f}"
    command = [sys.executable, str(Path(__file__).resolve()), "--child", str(folder), *arguments]
    wall, cpu, peak = watched(command)
    print(f"load {load} before and {psutil.getloadavg()[0]:.1f} after, of {os.cpu_count()} processors")
    print("| pixels | wall, s | megapixels/s | processor, s | peak GiB | target | GB written |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {side:,} x {side:,} | {wall:,.0f} | {side**2 / 1e6 / wall:.2f} | {cpu:,.0f} | {peak:.2f} | {TARGET:.0f} | "
        f"{size_of(folder / 'out'):.2f} |"
    )


def main() -> None:
    """The parent, or with --child the process that is measured."""
    arguments = sys.argv[1:]
    child = Path(arguments[1]) if arguments[:1] == ["--child"] else None
    given = dict(argument.split("=", 1) for argument in arguments[2 if child else 0 :])
    side, root = int(given.pop("side", 4000)), Path(PROJECT, given.pop("data", DUBAI))
    if child:
        predict(child, {key: int(value) if value.isdigit() else value for key, value in given.items()})
        return
    folder = PROJECT / "runs" / "benchmark" / f"raster-{side}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        measure(folder, side, root, [f"{key}={value}" for key, value in given.items()])
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
