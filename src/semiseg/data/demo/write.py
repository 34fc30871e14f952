"""Write the demo scenes as patches in the salak layout, once, whole or not at all."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from semiseg.data.demo.scene import draw_scene
from semiseg.errors import ConfigError, DataError
from semiseg.files import move_over

VERSION = 1  # of the drawing: sets drawn by another version are drawn anew
MARKER = "demo.json"
CLASSES = (
    ("background", (60, 60, 60)),
    ("Badan Air", (30, 100, 220)),
    ("Bangunan", (220, 40, 40)),
    ("Jalan", (230, 230, 230)),
    ("Pohon Berinang", (10, 110, 30)),
    ("Snake Fruit", (150, 210, 40)),
    ("Tanah Terbuka", (190, 130, 60)),
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DemoSet:
    """How many scenes there are and how they are used; all flights beyond the labelled and held out are unlabelled."""

    flights: int
    labeled_flights: int
    val_flights: int
    scene_size: tuple[int, int]  # pixels, rows and columns
    patch_size: int
    seed: int

    def __post_init__(self) -> None:
        rows, columns = self.scene_size
        too_small = min(rows, columns) < 384 or max(rows, columns) < 512  # to show every class
        if too_small or self.patch_size < 32 or rows % self.patch_size or columns % self.patch_size:
            raise ConfigError(
                f"data.layout.scene_size is {rows}x{columns} and patch_size {self.patch_size}: a scene needs at least "
                "384x512 pixels, both sides multiples of patch_size, such as [512,768] and 256."
            )
        if min(self.labeled_flights, self.val_flights) < 2 or self.labeled_flights + self.val_flights >= self.flights:
            raise ConfigError(
                f"data.layout has {self.flights} flights, {self.labeled_flights} labelled and {self.val_flights} for "
                "validation: each of the two needs at least 2 to show every class, and some must be left unlabelled."
            )

    def marker(self) -> str:
        """The text that a complete set carries."""
        return json.dumps({"version": VERSION, **asdict(self)}, indent=2) + "\n"


def source_name(flight: int) -> str:
    return f"flight{flight + 1:02d}"


def ensure(root: Path, demo: DemoSet) -> None:
    """Make `root` hold `demo`: a no-op when it does, drawn anew when it holds another demo set.

    Processes that start together wait for the first. Raises DataError when `root` holds anything else or cannot be
    written.
    """
    if holds(root, demo):
        return
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root.with_name(f"{root.name}.lock")):
            if not holds(root, demo):
                check_replaceable(root)
                replace(root, demo)
    except OSError as error:
        raise DataError(
            f"{root}: the demo scenes cannot be written there ({error}). Give another folder with data.root=PATH."
        ) from error


def holds(root: Path, demo: DemoSet) -> bool:
    marker = root / MARKER
    return marker.is_file() and marker.read_text(encoding="utf-8") == demo.marker()


def check_replaceable(root: Path) -> None:
    """Never delete a folder that is not ours. Raises DataError."""
    if root.exists() and not (root / MARKER).is_file() and (root.is_file() or any(root.iterdir())):
        raise DataError(
            f"{root} exists and is no set of demo scenes, so it is left as it is. Give another folder with "
            "data.root=PATH, or read your own patches with data=salak or data=folder."
        )


def replace(root: Path, demo: DemoSet) -> None:
    """Draw beside `root`, then rename: what an interruption leaves behind is never taken for a set."""
    partial, old = (root.with_name(f"{root.name}.{suffix}") for suffix in ("partial", "old"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    log.info("Drawing %d demo scenes into %s, once", demo.flights, root)
    try:
        write_set(partial, demo)
        if root.exists():
            move_over(root, old)
        move_over(partial, root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_set(root: Path, demo: DemoSet) -> None:
    """All scenes, the class mapping, the lists of sources and the marker."""
    for flight in range(demo.flights):
        # of any two flights in a row, one shows water and one shows buildings
        scene = draw_scene((demo.seed, flight), demo.scene_size, water=flight % 3 != 0, farm=flight % 3 != 1)
        folder, source = root / f"demo-{flight + 1:02d}", source_name(flight)
        write_patches(folder / "images", source, ".jpg", scene.image[..., ::-1], demo.patch_size, scene.jpeg_quality)
        write_patches(folder / "masks", source, ".png", scene.mask, demo.patch_size, scene.jpeg_quality)
    rows = [f"{name},{' '.join(map(str, color))}" for name, color in CLASSES]
    write_lines(root / "class_mapping.csv", ["class_name,class_color", *rows])
    sources = [source_name(flight) for flight in range(demo.flights)]
    held_out = demo.labeled_flights + demo.val_flights
    write_lines(root / "labeled.txt", sources[: demo.labeled_flights])
    write_lines(root / "val.txt", sources[demo.labeled_flights : held_out])
    write_lines(root / MARKER, [demo.marker().rstrip("\n")])


def write_patches(folder: Path, source: str, suffix: str, image: NDArray[np.uint8], size: int, quality: int) -> None:
    """Cut an image ([H, W, 3] BGR or [H, W]) into `<source>_patch_<row>_<column>` files."""
    folder.mkdir(parents=True)
    for row, column in np.ndindex(image.shape[0] // size, image.shape[1] // size):
        patch = image[row * size : (row + 1) * size, column * size : (column + 1) * size]
        options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
        _, data = cv2.imencode(suffix, np.ascontiguousarray(patch), options)
        (folder / f"{source}_patch_{row:03d}_{column:03d}{suffix}").write_bytes(data.tobytes())


def write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
