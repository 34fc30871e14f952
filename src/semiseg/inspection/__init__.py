"""The verb `inspect`: look at a data set before training on it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from semiseg.builder import build_bundle
from semiseg.config import check_missing, settings
from semiseg.data.build import DataBundle
from semiseg.engine.settings import SMALLEST_CROP, at_least
from semiseg.errors import DataError
from semiseg.files import write_bytes, write_json
from semiseg.inspection.examples import contact_sheet
from semiseg.inspection.figures import Inspection
from semiseg.inspection.report import print_report, say
from semiseg.inspection.scan import Scan, choose_patches, scan_patches
from semiseg.overrides import key_of
from semiseg.shell import command
from semiseg.streams import tolerant

WIDTH = 160  # of the tables where the output is a pipe or a file


@dataclass
class InspectConfig:
    """Settings of the verb; `crop_size` is the trainer's."""

    out: str
    sample: int | None
    crop_size: int

    def __post_init__(self) -> None:
        at_least("sample", self.sample, 0, optional=True)
        at_least("trainer.crop_size", self.crop_size, SMALLEST_CROP)


def main(config: DictConfig) -> int:
    """Print the report, write `inspect.json` and `contact_sheet.png`; 0, the number of problems.

    Raises DataError after the report when there are problems, and SemisegErrors for data that cannot be listed.
    """
    check_missing(config)
    node = {"out": config.out, "sample": config.sample, "crop_size": config.trainer.crop_size}
    cfg = settings(InspectConfig, node, "")
    stream = tolerant(sys.stdout)
    terminal = Terminal(file=stream, width=None if stream.isatty() else WIDTH, highlight=False)
    bundle = build_bundle(config)
    inspection = Inspection(bundle, scan_with_bar(terminal, bundle, cfg.sample), cfg.crop_size, fills_up(config))
    print_report(terminal, inspection)
    say(terminal, f"Written: {', '.join(map(str, write_files(inspection, Path(cfg.out).expanduser())))}")
    overrides = training_overrides(list(HydraConfig.get().overrides.task))
    if inspection.scan.problems:
        raise DataError(conclusion(inspection, overrides))
    if inspection.smaller_than_crop:
        overrides.append("aug.pad=true")
    say(terminal, f"No problem found. Next: {train_command(overrides)}", style="bold")
    return 0


def fills_up(config: DictConfig) -> bool:
    """Whether the augmentation makes samples of patches that are smaller than the crop, too."""
    return bool(config.aug.get("pad", True))


def scan_with_bar(terminal: Terminal, bundle: DataBundle, sample: int | None) -> Scan:
    """Look at every labelled pair and a sample of the unlabelled images, with a bar in a terminal."""
    patches = choose_patches(bundle.pools, sample, bundle.config.split_seed)
    columns = (TextColumn("Decoding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        task = progress.add_task("", total=len(patches))
        return scan_patches(bundle, patches, lambda count: progress.advance(task, count))


def write_files(inspection: Inspection, out: Path) -> list[Path]:
    """The figures and the contact sheet."""
    figures, sheet = out / "inspect.json", out / "contact_sheet.png"
    write_json(figures, inspection.figures())
    # Encoded in memory: OpenCV cannot open Unicode paths on Windows.
    _, data = cv2.imencode(".png", cv2.cvtColor(contact_sheet(inspection), cv2.COLOR_RGB2BGR))
    write_bytes(sheet, data.tobytes())
    return [figures, sheet]


def training_overrides(overrides: list[str]) -> list[str]:
    """All as typed but the settings of `inspect` itself."""
    return [text for text in overrides if key_of(text) not in ("out", "sample")]


def train_command(overrides: list[str]) -> str:
    """What trains on the data that was inspected."""
    return command(["semiseg", "train", *overrides])


def conclusion(inspection: Inspection, overrides: list[str]) -> str:
    """One line for the end: how many problems, and what to do about them."""
    problems = inspection.scan.problems
    files = len({problem.file for problem in problems})
    skipping = [text for text in overrides if key_of(text) != "data.on_error"]
    return (
        f"{len(problems):,} problem{'s' * (len(problems) > 1)} in {files:,} file{'s' * (files > 1)} of "
        f"{inspection.bundle.index.root}. Repair or remove them, or train without them: "
        f"{train_command([*skipping, 'data.on_error=skip'])}"
    )
