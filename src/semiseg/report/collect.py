"""Find the runs below a folder, read what each of them left behind, and choose among them."""

from __future__ import annotations

import fnmatch
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from pathlib import Path

import numpy as np

from semiseg.errors import SemisegError
from semiseg.report.history import History, read_history, stability
from semiseg.report.recorded import IDENTITY, read_config, read_overrides, read_summary
from semiseg.shell import program

RUN_FILES = {"summary.json", "metrics.jsonl", "log.txt"}
CONFIG = ".hydra/config.yaml"  # all that a run leaves that is killed before its first line
NOT_RUNS = {"mlartifacts", "cache", "report", "checkpoints"}
COMPLETE = {"finished", "stopped early"}  # `status` of a run whose scores are final


@dataclass(frozen=True, eq=False)
class Run:
    """One run folder: its summary (empty where the run never wrote one) and its flat config."""

    folder: Path
    summary: Mapping[str, object]
    settings: Mapping[str, str] = field(default_factory=dict)
    typed: Mapping[str, str] = field(default_factory=dict)  # overrides of the command line that are not IDENTITY
    own: Mapping[str, str] = field(default_factory=dict)  # settings that are, such as the seed
    fault: str = ""  # what is wrong with the summary, in words

    @property
    def status(self) -> str:
        """`finished`, `stopped early`, `interrupted` or `failed`; `no summary` where it never came to its end, and
        `damaged` where its summary cannot be believed."""
        return "damaged" if self.fault else str(self.summary.get("status", "no summary")).lower()

    @property
    def finished(self) -> bool:
        return self.status in COMPLETE

    @property
    def name(self) -> str:
        return str(self.summary.get("name") or self.folder.name)

    @cached_property
    def sweep(self) -> str:
        """The folder of the sweep that it is a job of; "" for a run by itself."""
        job = (self.folder.parent / "sweep.json").is_file() if "sweep" not in self.summary else False
        return str(self.summary.get("sweep") or (self.folder.parent.name if job else ""))

    @property
    def label(self) -> str:
        """What it is called in a note: a job's name is only a number."""
        return f"{self.sweep}/{self.name}" if self.sweep else self.name

    @property
    def experiment(self) -> str:
        return str(self.summary.get("experiment") or self.own.get("experiment_name") or self.folder.parent.name)

    @property
    def model(self) -> str:
        return str(self.summary.get("model") or self.own.get("model.name", "?"))

    @property
    def seed(self) -> str:
        return str(self.summary.get("seed", self.own.get("seed", "?")))

    @property
    def fingerprint(self) -> str:
        return str(self.summary.get("data_fingerprint", "unknown"))

    @property
    def words(self) -> dict[str, str]:
        """The word chosen for every config group, groups without one left out."""
        found = self.summary.get("choices")
        return {str(k): str(v) for k, v in found.items() if v is not None} if isinstance(found, Mapping) else {}

    @property
    def choices(self) -> dict[str, str]:
        """Config groups of the run that make a difference: model, loss, pseudo_label, aug, data."""
        return {"model": self.model} | {name: word for name, word in self.words.items() if name not in IDENTITY}

    @property
    def class_iou(self) -> Mapping[str, object]:
        """IoU by class name; empty where the run has none."""
        found = self.summary.get("class_iou")
        return found if isinstance(found, Mapping) else {}

    @property
    def classes(self) -> list[str]:
        """Class names in the order of their ids; empty in runs of older versions, which do not say."""
        found = self.summary.get("classes") or self.summary.get("colors")
        return [str(name) for name in found] if isinstance(found, list | Mapping) else []

    @cached_property
    def history(self) -> History:
        """Everything the run logged over its steps."""
        return read_history(self.folder)

    @cached_property
    def derived(self) -> dict[str, float]:
        """Numbers that follow from the history where the summary lacks them."""
        found = {}
        if (val := self.history.get("val/miou")) and (sd := stability(val.values)) is not None:
            found["stability"] = sd
        if (rate := self.history.get("images_per_s")) and np.isfinite(rate.values).any():
            found["images_per_s"] = float(np.nanmedian(rate.values))
        return found

    def number(self, key: str) -> float | None:
        """A number of the summary or the history; None where it is missing or was not finite."""
        value = self.summary.get(key)
        if value is None and key in ("stability", "images_per_s"):
            value = self.derived.get(key)
        return float(value) if isinstance(value, int | float) else None

    @property
    def started(self) -> date:
        """The day of the first logged line; of the folder where nothing was logged."""
        try:
            with (self.folder / "metrics.jsonl").open(encoding="utf-8") as file:
                seconds = float(json.loads(file.readline())["time"])
        except (OSError, ValueError, KeyError, TypeError):
            seconds = self.folder.stat().st_mtime
        return datetime.fromtimestamp(seconds).date()

    @property
    def written(self) -> float:
        """When its metrics were last written, in seconds: `semiseg sync` writes the summary again."""
        files = (self.folder / name for name in ("metrics.jsonl", "summary.json"))
        return next((path for path in files if path.is_file()), self.folder).stat().st_mtime

    @cached_property
    def has_matrices(self) -> bool:
        """Whether `matrices` has any."""
        return self.matrices() is not None

    def matrices(self) -> tuple[np.ndarray, np.ndarray | None] | None:
        """Confusion matrices [N, C, C] of the best evaluation and the base image [N] of each patch (None in older
        runs); None where the file is missing or damaged."""
        try:
            # NumPy leaves a damaged file open when it is given the path.
            with (self.folder / "confusion_best.npz").open("rb") as file, np.load(file) as arrays:
                matrices, sources = arrays["val"], arrays.get("source")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None
        fits = matrices.ndim == 3 and matrices.shape[1] == matrices.shape[2] and len(matrices) > 0
        return (matrices, sources) if fits and (sources is None or sources.shape == matrices.shape[:1]) else None


@dataclass(frozen=True)
class Filters:
    """Which runs to take: patterns such as `v*`, of which one has to fit, and the first and last day of their start."""

    experiments: Sequence[str] = ()
    models: Sequence[str] = ()
    tags: Sequence[str] = ()  # a word of the run (`softmax`), or which one (`pseudo_label:softmax`)
    since: date | None = None
    until: date | None = None

    def take(self, run: Run) -> bool:
        """Whether a run is wanted."""
        if not (fits([run.experiment], self.experiments) and fits([run.model], self.models)):
            return False
        if not fits(tags_of(run), self.tags):
            return False
        if self.since is None and self.until is None:
            return True
        return (self.since or date.min) <= run.started <= (self.until or date.max)


def fits(texts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether one of the texts fits one of the patterns; no pattern asks for nothing."""
    return not patterns or any(fnmatch.fnmatchcase(text, pattern) for text in texts for pattern in patterns)


def tags_of(run: Run) -> list[str]:
    """What a run can be picked by, as `word` and as `name:word`: its group choices, its sweep, its status and the
    `tags` of its summary."""
    own = run.summary.get("tags")
    tags = {**run.words, "status": run.status, "sweep": run.sweep or None, "seed": run.seed}
    tags |= own if isinstance(own, Mapping) else {}
    given = [(str(name), str(word)) for name, word in tags.items() if word is not None]
    return [word for _, word in given] + [f"{name}:{word}" for name, word in given]


@dataclass(frozen=True)
class Found:
    """What lies below a folder: runs, and the `sweep.json` of sweeps."""

    runs: list[Run]
    sweeps: list[Path]


def find_runs(root: Path) -> Found:
    """All runs and sweeps below `root`, by folder. Raises SemisegError where `root` is no folder."""
    if not root.is_dir():
        way = f"train first ({program('train')}) or give runs=FOLDER"
        raise SemisegError(f"{root.absolute()} is no folder of runs: {way}")
    runs, sweeps = [], []
    for folder, files in walk(root):
        if RUN_FILES & files or (CONFIG in files and "sweep.json" not in files):
            runs.append(read_run(folder))
        elif "sweep.json" in files:
            sweeps.append(folder / "sweep.json")
    return Found(runs, sweeps)


def walk(root: Path) -> Iterator[tuple[Path, set[str]]]:
    """Folders with the names of their files; nothing below a run is searched."""
    for folder, subfolders, files in os.walk(root):
        names = set(files)
        if ".hydra" in subfolders and Path(folder, CONFIG).is_file():
            names.add(CONFIG)
        subfolders[:] = sorted(s for s in subfolders if s not in NOT_RUNS and not s.startswith("."))
        if subfolders:  # a log of another program's, or `> runs/log.txt`
            names.discard("log.txt")
        if RUN_FILES & names:
            subfolders.clear()
        yield Path(folder), names


def read_run(folder: Path) -> Run:
    """Summary, config and overrides of a run folder."""
    summary, fault = read_summary(folder)
    settings, own = read_config(folder / CONFIG)
    return Run(folder, summary, settings, read_overrides(folder / ".hydra" / "overrides.yaml"), own, fault)
