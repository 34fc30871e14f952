"""The verb `export`: a trained run as ONNX, torch.export and INT8 files that need none of this project."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from semiseg.config import near, run_settings
from semiseg.engine.settings import at_least, one_of
from semiseg.errors import ConfigError
from semiseg.evaluation.subject import Subject, subject_of
from semiseg.export.check import TOLERANCE
from semiseg.export.costs import machine
from semiseg.export.files import FORMATS, RESULTS, Exported, Exporter, check_folder, check_packages, remove_stale
from semiseg.export.patches import check_batches, read_images, spread
from semiseg.export.results import Row, cost_rows, score_rows, size_rows, table
from semiseg.files import write_json
from semiseg.overrides import key_of
from semiseg.prediction.record import fingerprint
from semiseg.printable import say
from semiseg.report.terminal import fitted, make_terminal
from semiseg.trained import EXPORTED, Trained, load_trained

CPU = torch.device("cpu")
CHECKED = 4  # patches that files are held against the network on


@dataclass
class ExportConfig:
    """Settings of the verb, those of the data aside."""

    run: str
    out: str | None = None
    format: Any = field(default_factory=lambda: ["onnx", "int8"])  # a word or a list
    calibration: int = 64
    measure: bool = True

    def __post_init__(self) -> None:
        for word in self.formats:
            one_of("format", word, tuple(FORMATS))
        at_least("calibration", self.calibration, 1)
        if not self.formats:
            raise ConfigError(f"format=[] names no format. {near('', FORMATS)}")

    @property
    def formats(self) -> list[str]:
        """What `format` names."""
        return [str(each) for each in self.format] if isinstance(self.format, list) else [str(self.format)]


def main(config: DictConfig) -> None:
    """Write the files and export.json, print the table.

    Raises SemisegErrors for a run, data or a folder that cannot be used, and for a file that would not predict what
    the run does: that one is not written.
    """
    typed = {key_of(each) for each in HydraConfig.get().overrides.task}
    cfg = run_settings(ExportConfig, config, typed, "an export")
    check_packages(cfg.formats)
    machine()  # Windows counts the load from the first question on
    trained = load_trained(cfg.run, CPU)
    out = Path(cfg.out).expanduser() if cfg.out else trained.folder / EXPORTED.parent
    check_folder(out)
    subject = subject_of(config, "val", [trained], typed, out)
    export_run(trained, subject, cfg, out, make_terminal())


def export_run(trained: Trained, subject: Subject, cfg: ExportConfig, out: Path, terminal: Terminal) -> list[Row]:
    """The rows of the table, which export.json holds as well."""
    bundle = subject.bundle
    images = read_images(bundle, spread(subject.patches, CHECKED))
    quantizing = "int8" in cfg.formats
    calibration = read_images(bundle, spread(bundle.pools.train, cfg.calibration)) if quantizing else []
    with terminal.status("Reading") as status:
        made = Exporter(trained, out, check_batches(images), calibration).export(cfg.formats, status.update)
    systems = [Exported("PyTorch", trained.weights, lambda: trained), *made]
    rows = size_rows(systems)
    facts = {**facts_of(trained, subject, len(calibration)), "machine_before": machine()}
    if cfg.measure:
        measured = measure_all(systems, subject, int(trained.config.trainer.eval_batch_size), images, terminal)
        rows = [row | more for row, more in zip(rows, measured, strict=True)]
    facts["machine_after"] = machine()
    written = [each.path for each in made]
    stale = remove_stale(out, facts["weights_fingerprint"], written) if cfg.out is None else []
    write_json(out / RESULTS, {**facts, "systems": rows})
    show(terminal, rows, facts, out)
    if stale:
        say(terminal, f"Removed, because they are of other weights: {', '.join(map(str, stale))}")
    return rows


def measure_all(
    systems: list[Exported], subject: Subject, batch_size: int, images: list[torch.Tensor], terminal: Terminal
) -> list[Row]:
    """Latency, memory and mIoU of every system."""
    with terminal.status("Measuring latency and memory"):
        costs = cost_rows(systems, images)
    columns = (TextColumn("Measuring mIoU"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        task = progress.add_task("", total=len(subject.patches))
        scores = score_rows(systems, subject, batch_size, lambda count: progress.advance(task, count))
    return [cost | score for cost, score in zip(costs, scores, strict=True)]


def facts_of(trained: Trained, subject: Subject, calibration: int) -> dict[str, Any]:
    """What was exported, and on what data it was checked, calibrated and measured."""
    return {
        "run": trained.folder.resolve(),
        "weights": trained.weights.name,
        "weights_fingerprint": fingerprint(trained.weights),
        "model": trained.config.model.name,
        "classes": trained.classes.names,
        "git_commit": trained.summary.get("git_commit"),
        "data": subject.bundle.index.root,
        "data_fingerprint": subject.bundle.fingerprint(),
        "validation_patches": len(subject.patches),
        "calibration_patches": calibration,
        "tolerance": TOLERANCE,
    }


def show(terminal: Terminal, rows: list[Row], facts: dict[str, Any], out: Path) -> None:
    """The table, the load of the machine, and where the files are."""
    for part in fitted(table(rows), terminal.width):
        terminal.print(part)
    if "latency" in rows[0]:
        height, width = rows[0]["size"]
        before, after = facts["machine_before"], facts["machine_after"]
        say(
            terminal,
            f"Milliseconds: median for a batch of {height}x{width} patches, and in brackets how many times faster than "
            f"PyTorch. Load of the {before['processors']} processors: {before['load']} before, {after['load']} after.",
        )
        if max(before["load"], after["load"]) > before["processors"]:
            say(terminal, "Other programs kept the processors busy: read the ratios, not the milliseconds.", "yellow")
    files = [row["file"] for row in rows[1:]]
    say(terminal, f"Written: {', '.join(map(str, [*files, out / RESULTS]))}")
