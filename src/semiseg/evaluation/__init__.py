"""The verb `evaluate`: a trained run, or an ensemble of several, held against the truth."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from semiseg.config import run_settings
from semiseg.engine.device import pick_device, pick_dtype
from semiseg.engine.memory import told_as
from semiseg.engine.settings import PRECISIONS, at_least, check_device, one_of
from semiseg.errors import ConfigError, SemisegError
from semiseg.evaluation.files import write_files
from semiseg.evaluation.measure import Evaluation, measure
from semiseg.evaluation.predictors import TTA, Autocast, Predictor, Resized
from semiseg.evaluation.subject import SPLITS, Subject, check_classes, subject_of
from semiseg.evaluation.tables import print_tables
from semiseg.overrides import key_of
from semiseg.report.terminal import make_terminal
from semiseg.trained import BACKENDS, System, load_predictor

SMALLEST = 33  # pixels a side that the networks need


@dataclass
class EvaluateConfig:
    """Settings of the verb, those of the data aside."""

    run: Any  # a path or a list of paths
    split: str = "val"
    tta: str = "none"
    size: int | None = None
    out: str | None = None
    device: str = "auto"
    backend: str = "auto"
    precision: str | None = None
    batch_size: int | None = None
    num_workers: int | None = None
    target_precision: float = 0.9

    def __post_init__(self) -> None:
        one_of("split", self.split, SPLITS)
        one_of("tta", self.tta, tuple(TTA))
        check_device("device", self.device)
        one_of("backend", self.backend, BACKENDS)
        at_least("size", self.size, SMALLEST, optional=True)
        at_least("batch_size", self.batch_size, 1, optional=True)
        at_least("num_workers", self.num_workers, 0, optional=True)
        if self.precision is not None:
            one_of("precision", self.precision, PRECISIONS)
        if not 0 < self.target_precision < 1:
            raise ConfigError(f"target_precision is {self.target_precision:g}; it must lie between 0 and 1.")
        if not self.runs:
            raise ConfigError("run=[] names no run. Give the folder of one, such as run=runs/semiseg/NAME.")

    @property
    def runs(self) -> list[str]:
        """What `run` names."""
        return [str(each) for each in self.run] if isinstance(self.run, list) else [str(self.run)]


def main(config: DictConfig) -> None:
    """Print the tables and write evaluation.json, metrics.csv and figures/.

    Raises SemisegErrors for runs and data that do not exist, do not fit each other or cannot be read.
    """
    typed = {key_of(each): each.partition("=")[2] for each in HydraConfig.get().overrides.task}
    cfg = run_settings(EvaluateConfig, config, typed, "an evaluation")
    device = pick_device(cfg.device)
    systems = [load_predictor(run, device, cfg.backend) for run in cfg.runs]
    for other in systems[1:]:
        check_classes(systems[0], other.classes, f"run {other.folder}")
    out = Path(cfg.out).expanduser() if cfg.out else folder_of(cfg, systems[0].folder, typed)
    subject = subject_of(config, cfg.split, systems, typed.keys(), out)
    terminal = make_terminal()
    evaluation = evaluate(cfg, systems, subject, terminal)
    facts = facts_of(cfg, systems, subject)
    # First the files: a reader that closes the pipe (`| head`) ends the process.
    written = write_files(evaluation, facts, cfg.target_precision, out)
    print_tables(terminal, evaluation, facts, cfg.target_precision)
    terminal.print(f"Written: {', '.join(map(str, written))}", soft_wrap=True, markup=False, highlight=False)


def folder_of(cfg: EvaluateConfig, run: Path, typed: Mapping[str, str]) -> Path:
    """Where an evaluation goes when `out` does not say: a folder in the run's that tells what was evaluated.

    What has no short word, such as a list of patches or the members of an ensemble, is told apart by a digest.
    """
    root = Path(typed["data.root"].strip("'\"")).name if "data.root" in typed else ""
    parts = [cfg.split, typed.get("data", root), "" if cfg.tta == "none" else cfg.tta, str(cfg.size or "")]
    parts.append(cfg.precision or "")
    parts += [path.stem for path in map(Path, cfg.runs) if path.suffix == ".pth" and len(cfg.runs) == 1]
    parts.append(f"ensemble-of-{len(cfg.runs)}" if len(cfg.runs) > 1 else "")
    rest = [f"{key}={typed[key]}" for key in sorted(typed) if key.startswith("data.")]
    rest += cfg.runs if len(cfg.runs) > 1 else []
    parts.append(hashlib.sha256("\n".join(rest).encode()).hexdigest()[:6] if rest else "")
    return run / "evaluation" / "-".join(part for part in parts if part)


def evaluate(cfg: EvaluateConfig, systems: list[System], subject: Subject, terminal: Terminal) -> Evaluation:
    """All systems on all patches, with a bar in a terminal."""
    predictors = {name: predictor_of(cfg, run) for name, run in zip(names_of(systems), systems, strict=True)}
    batch_size = cfg.batch_size or int(systems[0].config.trainer.eval_batch_size)
    remedy = f"batch_size={batch_size // 2} or less, which changes no result" if batch_size > 1 else "device=cpu"
    short = SemisegError(f"Out of memory with batch_size={batch_size}. Use {remedy}.")
    columns = (TextColumn("Evaluating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        told_as(lambda: short, systems[0].device),
        by_own_names(),
        Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as progress,
    ):
        task = progress.add_task("", total=len(subject.patches))
        return measure(
            predictors,
            subject,
            batch_size,
            systems[0].device,
            cfg.num_workers,
            advance=lambda count: progress.advance(task, count),
        )


@contextmanager
def by_own_names() -> Iterator[None]:
    """What is to be set when loader workers die is a setting of the trainer in a training, and of this verb here."""
    try:
        yield
    except SemisegError as error:
        raise type(error)(str(error).replace("trainer.", "")) from error


def predictor_of(cfg: EvaluateConfig, run: System) -> Predictor:
    """The network in its precision, and around it the wanted augmentation of images of the wanted size."""
    predictor = TTA[cfg.tta](Autocast(run, run.device, dtype_of(cfg, run)))
    return predictor if cfg.size is None else Resized(predictor, cfg.size)


def dtype_of(cfg: EvaluateConfig, run: System) -> torch.dtype:
    """The wanted precision, else that of the run where the device has it."""
    if cfg.precision is not None:
        return pick_dtype(cfg.precision, run.device)
    own = str(run.config.trainer.precision)
    return pick_dtype("auto" if own == "fp16" and run.device.type != "cuda" else own, run.device)


def names_of(systems: list[System]) -> list[str]:
    """A name for each system that no other has."""
    counts = Counter(run.name for run in systems)
    return [
        run.name if counts[run.name] == 1 else f"{run.name} ({number})" for number, run in enumerate(systems, start=1)
    ]


def facts_of(cfg: EvaluateConfig, systems: list[System], subject: Subject) -> dict[str, Any]:
    """What was evaluated, and on what."""
    bundle = subject.bundle
    return {
        "runs": {
            name: {"folder": run.folder.resolve(), "weights": run.weights.name, "precision": str(dtype_of(cfg, run))}
            for name, run in zip(names_of(systems), systems, strict=True)
        },
        "data": bundle.index.root,
        "split": cfg.split,
        "patches": len(subject.patches),
        "sources": len(subject.sources[0]),
        "tta": cfg.tta,
        "size": cfg.size,
        "device": systems[0].device.type,
        "data_fingerprint": bundle.fingerprint(),
    }
