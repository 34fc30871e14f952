"""Find the runs below a folder and group those that differ in their seed alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev

from omegaconf import OmegaConf

from semiseg.errors import SemisegError

RUN_FILES = {"summary.json", "metrics.jsonl", "log.txt"}
NOT_RUNS = {"mlartifacts", "cache", "report", "checkpoints"}
# Settings that do not make two runs of different kinds: who they are, where they log and how they were started; what
# cannot change the scores; the lists of `data` (the fingerprint compares what they chose, wherever they lie); and
# what other settings have taken up (`model.recipe`, and the thresholds and weights that `data` hands on).
IDENTITY = {"seed", "name", "experiment_name", "experiment", "tracking", "output", "resume", "restore_from"} | {
    "trainer.log_every", "trainer.save_every", "trainer.save_latest_every", "trainer.num_workers", "trainer.device",
    "trainer.eval_batch_size", "trainer.channels_last", "data.root", "data.labeled_list", "data.val_list",
    "data.cache_dir", "data.class_thresholds", "data.encoder_weights", "model.name", "model.recipe",
}  # fmt: skip
COMPLETE = {"finished", "stopped early"}  # `status` of a run whose scores are final


@dataclass(frozen=True)
class Run:
    """One run folder: its summary (empty where the run never wrote one) and its flat config."""

    folder: Path
    summary: Mapping[str, object]
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        return str(self.summary.get("status", "no summary")).lower()

    @property
    def finished(self) -> bool:
        return self.status in COMPLETE

    @property
    def fingerprint(self) -> str:
        return str(self.summary.get("data_fingerprint", "unknown"))

    @property
    def choices(self) -> dict[str, str]:
        """Config groups of the run that make a difference: model, loss, pseudo_label, aug, data."""
        found = self.summary.get("choices")
        choices = {str(k): str(v) for k, v in found.items()} if isinstance(found, Mapping) else {}
        model = {"model": str(self.summary.get("model", "?"))}
        return model | {name: choice for name, choice in choices.items() if name not in IDENTITY}

    @property
    def class_iou(self) -> Mapping[str, object]:
        """IoU by class name; empty where the run has none."""
        found = self.summary.get("class_iou")
        return found if isinstance(found, Mapping) else {}

    def number(self, key: str) -> float | None:
        """A number of the summary; None where it is missing or was not finite."""
        value = self.summary.get(key)
        return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True)
class Group:
    """Runs of one recipe on the same data, over seeds."""

    runs: tuple[Run, ...]

    @cached_property
    def choices(self) -> dict[str, str]:
        return self.runs[0].choices

    @property
    def seeds(self) -> list[str]:
        return [str(run.summary.get("seed", "?")) for run in self.runs]

    def values(self, key: str) -> list[float]:
        """The number `key` of every run that has it."""
        return [value for run in self.runs if (value := run.number(key)) is not None]

    def mean_sd(self, key: str) -> tuple[float, float | None] | None:
        """Mean and sample standard deviation (None for a single run); None where no run has the number."""
        values = self.values(key)
        return (fmean(values), stdev(values) if len(values) > 1 else None) if values else None

    def answers_to(self, name: str) -> bool:
        """Is this the group a user means by `name`: its model, or the name or folder of one of its runs?"""
        return name == self.choices["model"] or any(
            name in (run.summary.get("name"), run.folder.name) for run in self.runs
        )


def collect_runs(root: Path) -> list[Run]:
    """All runs below `root`, by folder. Raises SemisegError where there are none."""
    if not root.is_dir():
        raise SemisegError(f"{root.absolute()} is no folder of runs: train first (python train.py) or give runs=FOLDER")
    runs = [read_run(folder) for folder in run_folders(root)]
    if not runs:
        raise SemisegError(f"{root.absolute()} holds no run yet: train one (python train.py) or give runs=FOLDER")
    return runs


def run_folders(root: Path) -> Iterator[Path]:
    """Folders that hold a file of a run; nothing below a run is searched."""
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(s for s in subfolders if s not in NOT_RUNS and not s.startswith("."))
        if RUN_FILES & set(files):
            subfolders.clear()
            yield Path(folder)


def read_run(folder: Path) -> Run:
    """Summary and config of a run folder; an unreadable summary counts as none."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        summary = {}
    return Run(folder, summary if isinstance(summary, dict) else {}, read_settings(folder / ".hydra" / "config.yaml"))


def read_settings(path: Path) -> dict[str, str]:
    """The config as dotted names with text values, without those of IDENTITY; a missing file has none."""
    if not path.is_file():
        return {}
    config = OmegaConf.to_container(OmegaConf.load(path))
    return {key: text for key, text in _flat(config) if not _is_identity(key)}


def _is_identity(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in IDENTITY)


def _flat(node: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, str(node)


def group_runs(runs: list[Run]) -> list[Group]:
    """Groups of runs that agree in choices and settings, the best mean `best_val_miou` first."""
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        key = (*sorted(run.choices.items()), *sorted(run.settings.items()))
        groups.setdefault(key, []).append(run)
    ordered = [Group(tuple(sorted(members, key=lambda r: str(r.summary.get("seed"))))) for members in groups.values()]
    return sorted(ordered, key=lambda g: -(g.mean_sd("best_val_miou") or (-1.0, None))[0])
