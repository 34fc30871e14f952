"""Settings of the verb `predict`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from semiseg.engine.settings import DEVICES, at_least, one_of
from semiseg.errors import ConfigError
from semiseg.prediction.inputs import SPLITS
from semiseg.prediction.outputs import KINDS
from semiseg.prediction.raster import check_stretch
from semiseg.prediction.reading import Tiling
from semiseg.trained import BACKENDS

MIN_TILE = 32


@dataclass
class PredictConfig:
    """What to predict with which model, how, and what to write."""

    run: str
    out: str
    input: str | None = None
    split: str = "unlabeled"
    tile: int = 512
    overlap: int = 128
    batch: int = 8
    outputs: list[str] = field(default_factory=lambda: ["classes", "areas"])
    smallest_polygon: int = 0
    visualize: bool = False
    visualize_first: int = 20
    stretch: Any = None
    device: str = "auto"
    backend: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, lowest in (("overlap", 0), ("batch", 1), ("smallest_polygon", 0), ("visualize_first", 1)):
            at_least(name, getattr(self, name), lowest)
        at_least("tile", self.tile, MIN_TILE)
        at_least("threads", self.threads, 1, optional=True)
        one_of("split", self.split, SPLITS)
        one_of("device", self.device.split(":")[0], DEVICES)
        one_of("backend", self.backend, BACKENDS)
        for kind in self.outputs:
            one_of("outputs", kind, KINDS)
        if 2 * self.overlap > self.tile:
            raise ConfigError(f"overlap={self.overlap} is more than half of tile={self.tile}; make it smaller.")
        check_stretch(self.stretch)

    @property
    def tiling(self) -> Tiling:
        return Tiling(self.tile, self.overlap, self.batch)

    @property
    def reading_threads(self) -> int:
        """As many again write."""
        return self.threads or max(2, min(16, os.cpu_count() or 1))
