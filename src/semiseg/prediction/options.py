"""Settings of the verb `predict`."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig

from semiseg.config import run_settings
from semiseg.engine.settings import at_least, check_device, one_of
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
    outputs: Any = field(default_factory=lambda: ["classes", "areas"])  # a word or a list
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
        check_device("device", self.device)
        one_of("backend", self.backend, BACKENDS)
        for kind in self.kinds:
            one_of("outputs", kind, KINDS)
        if 2 * self.overlap > self.tile:
            raise ConfigError(f"overlap={self.overlap} is more than half of tile={self.tile}; make it smaller.")
        check_stretch(self.stretch)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What `outputs` names."""
        return tuple(map(str, self.outputs)) if isinstance(self.outputs, list) else (str(self.outputs),)

    @property
    def tiling(self) -> Tiling:
        return Tiling(self.tile, self.overlap, self.batch)

    @property
    def reading_threads(self) -> int:
        """As many again write."""
        return self.threads or max(2, min(16, os.cpu_count() or 1))


def options_of(config: DictConfig, typed: Collection[str]) -> PredictConfig:
    """The checked settings. Raises ConfigError for those that only a training has, since the run brings its own, and
    for those of a data set where `input` says what to predict."""
    cfg = run_settings(PredictConfig, config, typed, "a prediction")
    unused = sorted(key for key in typed if key.split(".")[0] in ("data", "split"))
    if cfg.input is not None and unused:
        raise ConfigError(
            f"{unused[0]}= is of the patches of a data set, and input={cfg.input} names other images: take one of them."
        )
    return cfg
