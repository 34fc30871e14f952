"""The exported files: made, held against the network on real patches, and only then written."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from semiseg.errors import ConfigError
from semiseg.evaluation.predictors import Predictor
from semiseg.export.check import Agreement, Program, check, compare
from semiseg.export.graph import program_bytes, to_onnx, trace
from semiseg.export.metadata import metadata_of, parse_metadata
from semiseg.export.onnx_model import OnnxTrained, load_onnx, open_session
from semiseg.export.packages import WRITING, require
from semiseg.export.quantize import quantize
from semiseg.files import write_bytes
from semiseg.trained import Trained

FORMATS = {"onnx": "model.onnx", "torch_export": "model.pt2", "int8": "model.int8.onnx"}
RESULTS = "export.json"
LABELS = {"onnx": "ONNX fp32", "torch_export": "torch.export", "int8": "ONNX INT8"}


@dataclass(frozen=True)
class Exported:
    """A system on disk: the run itself, or a file made of it."""

    label: str
    path: Path
    open: Callable[[], Predictor]
    agreement: Agreement | None = None  # with the network; none of the network itself


class Exporter:
    """Makes files of one trained system, in one folder."""

    def __init__(self, trained: Trained, out: Path, batches: Sequence[Tensor], calibration: Sequence[Tensor]) -> None:
        """Files are checked on `batches` [B, 3, H, W]; INT8 takes its ranges from `calibration`, images [3, H, W]."""
        self.trained, self.out, self.batches, self.calibration = trained, out, batches, calibration

    def export(self, formats: Sequence[str], say: Callable[[str], object] = lambda step: None) -> list[Exported]:
        """A file for each of the formats, in the order of `FORMATS`.

        Raises CheckpointError where a file of float32 weights does not predict what the network does.
        """
        say("Tracing the network")
        program = trace(self.trained.network)
        found = []
        if "torch_export" in formats:
            say("Writing torch.export")
            found.append(self.as_program(program))
        if {"onnx", "int8"} & set(formats):
            say("Exporting to ONNX")
            model = to_onnx(program, metadata_of(self.trained, "fp32"))
            if "onnx" in formats:
                found.insert(0, self.as_onnx("onnx", model.SerializeToString()))
            if "int8" in formats:
                say(f"Quantising on {len(self.calibration):,} patches")
                quantized = quantize(model, self.calibration, metadata_of(self.trained, "int8"))
                found.append(self.as_onnx("int8", quantized.SerializeToString()))
        return found

    def as_onnx(self, format: str, content: bytes) -> Exported:
        """INT8 is not refused for its differences: the table tells them, and what they cost in mIoU."""
        path = self.out / FORMATS[format]
        session = open_session(content, path)
        model = OnnxTrained(session, parse_metadata(path, session.get_modelmeta().custom_metadata_map), path)
        agreement = compare(self.trained, model, self.batches)
        if format == "onnx":
            check(path, agreement)
        write_bytes(path, content)
        return Exported(LABELS[format], path, lambda: load_onnx(path), agreement)

    def as_program(self, program: ExportedProgram) -> Exported:
        path = self.out / FORMATS["torch_export"]
        content = program_bytes(program, metadata_of(self.trained, "fp32"))
        agreement = compare(self.trained, Program(torch.export.load(io.BytesIO(content)), self.trained), self.batches)
        check(path, agreement)
        write_bytes(path, content)
        return Exported(LABELS["torch_export"], path, lambda: Program(torch.export.load(path), self.trained), agreement)


def remove_stale(out: Path, weights: str, written: Collection[Path]) -> list[Path]:
    """Remove the files of a folder that were not written now and are, by its export.json, of other weights.

    `weights` is the fingerprint of those that were exported now.
    """
    try:
        before = json.loads((out / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(before, dict) or before.get("weights_fingerprint") == weights:
        return []
    stale = [path for name in FORMATS.values() if (path := out / name) not in written and path.is_file()]
    for path in stale:
        path.unlink()
    return stale


def check_packages(formats: Sequence[str]) -> None:
    """Raises ConfigError, before any work is done, for a format whose packages are missing."""
    if {"onnx", "int8"} & set(formats):
        require(*WRITING)


def check_folder(out: Path) -> None:
    """Make the folder. Raises ConfigError where nothing can be written there, before minutes of work are lost."""
    probe = out / ".writable"
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"out={out} cannot be written ({error.strerror}). Give another folder.") from None
