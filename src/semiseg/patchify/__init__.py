"""The verb `patchify`: base images and their masks or polygons to patches, and predicted patches back to maps."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from semiseg.config import conf_dir, settings
from semiseg.data.classes import ClassMap, read_class_mapping
from semiseg.data.masks import SKIPPING
from semiseg.engine.settings import at_least
from semiseg.errors import ConfigError, DataError
from semiseg.evaluation.subject import write_classes
from semiseg.files import write_json
from semiseg.overrides import override
from semiseg.patchify.assemble import SOURCES, assemble
from semiseg.patchify.cut import FOLDER, BaseImage, Counts, Cutter, source_name
from semiseg.patchify.labels import Labels, Masked, Polygons, find_masks, outside_id
from semiseg.prediction.images import Source
from semiseg.prediction.inputs import Item, find_items
from semiseg.prediction.progress import counted
from semiseg.prediction.raster import check_stretch
from semiseg.prediction.sources import open_source
from semiseg.printable import say
from semiseg.shell import command
from semiseg.streams import tolerant

MIN_SIZE = 32


@dataclass
class PatchifyConfig:
    """What to cut and how, or what to put together."""

    out: str | None = None
    images: str | None = None
    masks: str | None = None
    polygons: str | None = None
    class_mapping: str | None = None
    class_column: str = "class"
    outside: str | None = None
    size: int = 256
    overlap: int = 0
    stride: int | None = None
    min_labeled: float = 0.0
    stretch: Any = None
    assemble: str | None = None
    patches: str | None = None

    def __post_init__(self) -> None:
        at_least("size", self.size, MIN_SIZE)
        at_least("stride", self.stride, 1, optional=True)
        check_stretch(self.stretch)
        if self.out is None:
            raise ConfigError("out is not given. Name the folder to write to with out=PATH.")
        if not 0 <= self.overlap < self.size:
            raise ConfigError(f"overlap is {self.overlap}; it must be 0 or more and less than size={self.size}.")
        if self.stride is not None and (self.overlap or self.stride > self.size):
            raise ConfigError(
                f"stride={self.stride} says what size={self.size} and overlap= would: give one, up to size."
            )
        if not 0 <= self.min_labeled <= 1:
            raise ConfigError(f"min_labeled is {self.min_labeled:g}; it must lie between 0 and 1.")
        if (self.assemble is None) == (self.images is None):
            raise ConfigError("Give images=PATH to cut, or assemble=PATH patches=PATH to put predictions together.")
        if self.assemble is not None and self.patches is None:
            raise ConfigError("assemble= needs patches=PATH, the folder that semiseg patchify wrote.")
        if self.images is not None and self.class_mapping is None:
            raise ConfigError(
                "class_mapping is not given. Name a CSV of class_name,class_color with class_mapping=PATH."
            )
        if self.masks is not None and self.polygons is not None:
            raise ConfigError("masks= and polygons= are both given: take one of them.")

    @property
    def step(self) -> int:
        """Pixels from patch to patch."""
        return self.stride or self.size - self.overlap


def main(config: DictConfig) -> int:
    """Cut or assemble, and say what was written; 0. Raises SemisegErrors."""
    cfg = settings(PatchifyConfig, OmegaConf.masked_copy(config, [f.name for f in fields(PatchifyConfig)]), "")
    assert cfg.out is not None
    out, terminal = Path(cfg.out).expanduser(), Terminal(file=tolerant(sys.stdout), highlight=False)
    if cfg.assemble is not None:
        assert cfg.patches is not None
        maps = assemble(Path(cfg.assemble).expanduser(), Path(cfg.patches).expanduser(), out)
        say(terminal, f"{counted(len(maps), 'map')} put together. Written: {out}")
        return 0
    Patchify(cfg, out, terminal).run()
    return 0


class Patchify:
    """One call that cuts: where truth comes from, and what could not be read."""

    def __init__(self, cfg: PatchifyConfig, out: Path, terminal: Terminal) -> None:
        assert cfg.images is not None and cfg.class_mapping is not None
        self.cfg, self.out, self.terminal = cfg, out, terminal
        self.classes = read_class_mapping(Path(cfg.class_mapping).expanduser(), "class_mapping")
        self.items = find_items(Path(cfg.images).expanduser(), out, None if cfg.masks is None else Path(cfg.masks))
        self.names = unique_names(self.items)
        self.masks = {} if cfg.masks is None else find_masks(Path(cfg.masks).expanduser(), self.items, out)
        self.polygons = polygons_of(cfg, self.classes)
        self.cutter = Cutter(out, cfg.size, cfg.step, cfg.min_labeled, min(8, os.cpu_count() or 1))
        self.cut = {"size": cfg.size, "stride": cfg.step, "min_labeled": cfg.min_labeled}
        self.failed: list[str] = []
        self.remarks: set[str] = set()
        if (out / SOURCES).exists() or (out / FOLDER).exists():
            raise ConfigError(f"{out} holds patches already. Give another folder with out=PATH, or remove that one.")

    def run(self) -> None:
        """Cut every base image. Raises DataError at the end where one could not be."""
        total, images = Counts(), []
        self._write_sources(images)  # first: a call that is killed leaves patches, which no other is to be mixed with
        write_classes(self.out / "class_mapping.csv", self.classes)
        if self.polygons is not None and self.polygons.passed_over is not None:
            say(self.terminal, f"Warning: {self.polygons.passed_over}", style="yellow")
        try:
            self._cut_images(total, images)
        finally:
            self._write_sources(images)
        self._conclude(total, len(images))

    def _write_sources(self, images: list[BaseImage]) -> None:
        write_json(self.out / SOURCES, {"cut": self.cut, "sources": [image.as_dict() for image in images]})

    def _cut_images(self, total: Counts, images: list[BaseImage]) -> None:
        columns = (TextColumn("Cutting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.terminal, transient=True, disable=not self.terminal.is_terminal) as bar:
            for item, name in zip(bar.track(self.items), self.names, strict=True):
                try:
                    images.append(self._cut_image(item, name, total))
                except DataError as error:
                    self.failed.append(str(item.path))
                    say(self.terminal, f"Not cut: {str(error).replace(SKIPPING, '')}", style="yellow")

    def _cut_image(self, item: Item, name: str, total: Counts) -> BaseImage:
        source = open_source(item.path, self.cfg.stretch)
        for kind in source.remarks.keys() - self.remarks:  # the first of each, since thousands may be alike
            say(self.terminal, f"Warning: {item.path}: {source.remarks[kind]}", style="yellow")
            self.remarks.add(kind)
        try:
            counts = self.cutter.cut(name, source, self._labels(item, source))
            total.written += counts.written
            total.labeled += counts.labeled
            total.empty += counts.empty
            return BaseImage.of(name, item, source)
        finally:
            source.close()

    def _labels(self, item: Item, source: Source) -> Labels | None:
        if self.polygons is not None:
            return self.polygons.over(item, source)
        mask = self.masks.get(item.name)
        return None if mask is None else Masked(mask, item, source, self.classes)

    def _conclude(self, total: Counts, images: int) -> None:
        empty = f", {total.empty:,} without any data left out" if total.empty else ""
        cut = f"{total.written:,} patches of {counted(images, 'base image')}"
        say(self.terminal, f"{cut}, {total.labeled:,} with a mask{empty}.")
        data = f"data=salak {override('data.root', self.out.as_posix())}"
        train = f"Train on it with: semiseg train {data}{of_own_classes(self.classes)}"
        predict = f"semiseg predict run=RUN {data} split=all out=PATH"
        say(self.terminal, f"Written: {self.out}. {train if total.labeled else f'Predict it with: {predict}'}")
        if self.failed:
            raise DataError(
                f"{counted(len(self.failed), 'base image')} could not be cut, the first is {self.failed[0]}."
            )
        if not total.written:
            raise DataError(f"{self.cfg.images}: no patch shows any data.")


def of_own_classes(classes: ClassMap) -> str:
    """What `data=salak` says of Salak's classes alone and a training on others has to leave out."""
    salak = OmegaConf.load(conf_dir() / "data" / "salak.yaml").class_thresholds
    if set(classes.names) == set(salak):
        return ""
    words = ["pseudo_label.class_thresholds=null"]
    if classes.names[0] != "background":
        words.insert(0, "data.exclude_from_miou=[]")
    return f" {command(words)}"


def unique_names(items: list[Item]) -> list[str]:
    """The name of each base image in those of its patches. Raises DataError where two would share one."""
    names: dict[str, Item] = {}
    for item in items:
        name = source_name(item)
        if name in names:
            raise DataError(f"{names[name].path} and {item.path} would both be {name}. Rename one of them.")
        names[name] = item
    return list(names)


def polygons_of(cfg: PatchifyConfig, classes: ClassMap) -> Polygons | None:
    if cfg.polygons is None:
        return None
    return Polygons(Path(cfg.polygons).expanduser(), cfg.class_column, classes, outside_id(cfg.outside, classes))
