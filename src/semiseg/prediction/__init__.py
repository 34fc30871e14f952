"""The verb `predict`: a trained system over images, folders, a data set or one raster of any size."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext, suppress
from itertools import islice
from pathlib import Path

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console as Terminal

from semiseg.data.masks import SKIPPING
from semiseg.engine.device import pick_device
from semiseg.errors import ConfigError, DataError
from semiseg.evaluation.subject import check_classes, data_of
from semiseg.overrides import key_of
from semiseg.prediction.areas import write_areas
from semiseg.prediction.images import Source
from semiseg.prediction.inputs import DataItems, Item, find_items, patches_of
from semiseg.prediction.options import PredictConfig, options_of
from semiseg.prediction.outputs import Outputs
from semiseg.prediction.pipeline import run_pipeline
from semiseg.prediction.place import geo
from semiseg.prediction.planes import Held, Part, Planes
from semiseg.prediction.progress import Meter, counted
from semiseg.prediction.reading import Hooks, Job, Tiling
from semiseg.prediction.record import Entry, Record, describe, stamp
from semiseg.prediction.sources import is_raster, open_source
from semiseg.prediction.visualize import explain_job, thresholds_of
from semiseg.printable import say
from semiseg.streams import tolerant
from semiseg.trained import System, load_predictor

BLOCK_CACHE = 2**28  # bytes GDAL keeps of decoded blocks: a row of tiles of a raster 50,000 pixels wide


def main(config: DictConfig) -> int:
    """Predict, say what was written; 0. Raises DataError at the end where an image could not be read whole."""
    typed = {key_of(override) for override in HydraConfig.get().overrides.task}
    cfg = options_of(config, typed)
    device = pick_device(cfg.device)
    out = Path(cfg.out).expanduser()
    trained = load_predictor(cfg.run, device, cfg.backend)
    items = choose_items(config, cfg, trained, typed, out)
    predict_files(trained, items, cfg, Terminal(file=tolerant(sys.stdout), highlight=False)).conclude()
    return 0


def choose_items(
    config: DictConfig, cfg: PredictConfig, trained: System, typed: Collection[str], out: Path
) -> Sequence[Item]:
    """`input=` where it is given, else the patches of the data set, else those of the run's own."""
    if cfg.input is not None:
        return find_items(Path(cfg.input).expanduser(), out)
    bundle, patches = patches_of(data_of(config, trained, typed, out), cfg.split)
    check_classes(trained, bundle.classes, f"data of {bundle.index.root}")
    return DataItems(bundle.index, patches)


def predict_files(trained: System, items: Sequence[Item], cfg: PredictConfig, terminal: Terminal) -> Prediction:
    """The verb as a function: predict files into the folder `cfg.out`. What came of them is in the `record` of the
    result; its `conclude` raises what the verb does for images that could not be read.

    Raises ConfigError for a folder that another process or another model has.
    """
    out = Path(cfg.out).expanduser()
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        prediction = Prediction(trained, cfg, out, terminal)
        prediction.run(items)
    return prediction


def predict_sources(trained: System, sources: Sequence[Source], threads: int = 2) -> list[Held]:
    """Classes and confidence of images that are held in memory, in their order."""
    done: dict[str, Held] = {}

    def refuse(_: Item, error: DataError) -> None:
        raise error

    def keep(job: Job) -> None:
        assert isinstance(job.planes, Held)
        done[job.item.name] = job.planes

    hooks = Hooks(
        open=lambda item: sources[int(item.name)],
        planes=lambda job: (Held(job.source.height, job.source.width), 0),
        finish=keep,
        failed=refuse,
        advance=lambda share, pixels: None,
    )
    items = [Item(str(number), Path()) for number in range(len(sources))]
    run_pipeline(trained, items, Tiling(), hooks, trained.device, threads)
    return [done[item.name] for item in items]


class locked:
    """One process at a time in an output folder. Raises ConfigError where another has it."""

    def __init__(self, out: Path) -> None:
        self.out, self._lock = out, FileLock(out / ".lock")

    def __enter__(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(f"out={self.out} is being written by another process. Wait for it.") from None
        except NotImplementedError:  # a file system without locks
            pass

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Prediction:
    """One call of the verb: what it opens, where results go, and what it says."""

    def __init__(self, trained: System, cfg: PredictConfig, out: Path, terminal: Terminal) -> None:
        self.trained, self.cfg, self.out, self.terminal = trained, cfg, out, terminal
        self.outputs = Outputs(out, trained.classes, cfg.kinds, cfg.smallest_polygon)
        description = describe(trained.weights, trained.classes, cfg.tile, cfg.overlap, cfg.stretch)
        polygons = {"smallest_polygon": cfg.smallest_polygon} if "polygons" in cfg.kinds else {}
        self.record = Record(out, {"run": str(trained.weights), **description, **polygons})
        self.key = str(sorted(description.items()))
        self.thresholds = thresholds_of(trained.config, trained.classes.names)
        self.names: set[str] = set()  # of the images of this call
        self.explained: set[str] = set()  # those of them that get a picture
        self.failed: list[Item] = []
        self.remarks: Counter[str] = Counter()
        self.first_remarks: list[str] = []  # of each kind

    def run(self, items: Sequence[Item]) -> None:
        """Predict what is not finished yet, then write areas.csv."""
        self.names = {item.name for item in items}
        if self.cfg.visualize:
            self.explained = {item.name for item in islice(items, self.cfg.visualize_first)}
        left = [n for n, item in enumerate(items) if not self.is_finished(item)]
        finished = len(items) - len(left)
        images = counted(len(items), "image")
        already = f"{finished:,} of {images} {'is' if finished == 1 else 'are'} predicted already"
        say(self.terminal, already if finished else f"{images} to predict")
        rasters = any(is_raster(items[n].path) for n in left)
        with Meter(self.terminal, len(left)) as meter:
            hooks = Hooks(self.open, self.planes, self.finish, self.fail, meter.advance)
            with geo().Env(GDAL_CACHEMAX=BLOCK_CACHE) if rasters else nullcontext():
                self.predict((items[n] for n in left), hooks)
        if "areas" in self.cfg.kinds:
            write_areas(self.out / "areas.csv", self.entries, self.trained.classes)
        for kind, number in self.remarks.items():
            if number > 1:
                say(self.terminal, f"Warning: {number:,} images have {kind}.", style="yellow")
        say(self.terminal, f"{meter.total()}. Written: {self.out}")

    def predict(self, items: Iterator[Item], hooks: Hooks) -> None:
        run_pipeline(self.trained, items, self.cfg.tiling, hooks, self.trained.device, self.cfg.reading_threads)
        remove_empty(self.out / "unfinished")  # not before: the threads would remove what others begin to use

    def is_finished(self, item: Item) -> bool:
        """Whether all its files are there, and the image is the one they were made of."""
        if item.name not in self.record.finished or not self.outputs.are_there(item):
            return False
        if item.name in self.explained and not self.picture(item).is_file():
            return False
        return stamp(item.path) == self.record.finished[item.name]

    def picture(self, item: Item) -> Path:
        return self.out / "visualize" / f"{item.name}.png"

    def entries(self) -> Iterator[Entry]:
        """The images of this call that are finished, now or before, by name: not those of other inputs."""
        names = self.names - {item.name for item in self.failed}
        return (entry for entry in self.record.newest() if entry.image in names)

    def open(self, item: Item) -> Source:
        return open_source(item.path, self.cfg.stretch)

    def planes(self, job: Job) -> tuple[Planes, int]:
        """In memory for one tile; in a part file for more, with the rows that an interrupted call left there."""
        self.remark(job)
        height, width = job.source.height, job.source.width
        if job.single:
            return Held(height, width), 0
        key = f"{self.key} {stamp(job.item.path)}"
        part = Part(self.out / "unfinished" / f"{job.item.name}.part", height, width, key)
        return part, part.rows

    def finish(self, job: Job) -> None:
        """Write the files of an image, then its line in the record."""
        entry = self.outputs.write(job)
        if job.item.name in self.explained:
            problem = explain_job(self.picture(job.item), job, self.trained.classes, self.thresholds)
            if problem is not None:
                say(self.terminal, f"Drawn without its truth: {str(problem).replace(SKIPPING, '')}", style="yellow")
        job.source.close()
        self.record.add(entry)
        if isinstance(job.planes, Part):
            job.planes.remove()

    def remark(self, job: Job) -> None:
        """What is odd about an image; of each kind the first only, since a folder may hold thousands alike."""
        for kind, sentence in job.source.remarks.items():
            self.remarks[kind] += 1
            if self.remarks[kind] == 1:
                self.first_remarks.append(sentence)
                say(self.terminal, f"Warning: {job.item.path}: {sentence}", style="yellow")

    def fail(self, item: Item, error: DataError) -> None:
        self.failed.append(item)
        say(self.terminal, f"Not predicted: {str(error).replace(SKIPPING, '')}", style="yellow")

    def conclude(self) -> None:
        """Raises DataError where something of these images could not be read, this time or in an earlier call."""
        holes = [entry for entry in self.entries() if entry.problems]
        for entry in holes:
            more = f" (and {len(entry.problems) - 1:,} more)" if len(entry.problems) > 1 else ""
            say(self.terminal, f"{entry.image}: {entry.problems[0]}{more}; no data there", style="yellow")
        said = []
        if self.failed:
            first = f"{', the first is' if len(self.failed) > 1 else ':'} {self.failed[0].path}"
            said.append(f"{counted(len(self.failed), 'image')} cannot be read{first}")
        if holes:
            have = "has" if len(holes) == 1 else "have"
            said.append(f"{len(holes):,} {have} blocks that cannot be read, the first is {holes[0].image}")
        if said:
            rest = "All else is predicted" if any(self.entries()) else "Nothing is predicted"
            raise DataError(f"{' and '.join(said)}. {rest}; repair what is named and call again.")


def remove_empty(folder: Path) -> None:
    """Remove a folder and those in it where they hold no file."""
    for path in (*sorted(folder.rglob("*"), reverse=True), folder):
        with suppress(OSError):  # of a file, or of a folder that holds one
            path.rmdir()
