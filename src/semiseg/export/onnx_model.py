"""An ONNX file that predicts as the run it was exported from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from semiseg.data.classes import ClassMap
from semiseg.errors import CheckpointError, ConfigError
from semiseg.export.graph import INPUT, OUTPUT
from semiseg.export.metadata import Metadata, parse_metadata
from semiseg.export.packages import require
from semiseg.trained import EXPORTED

if TYPE_CHECKING:
    import onnxruntime

ERRORS_ONLY = 3  # of ONNX Runtime's log


@dataclass(frozen=True)
class OnnxTrained:
    """What `Trained` is to a run, for a file: anything that predicts with a run predicts with this. On the CPU."""

    session: onnxruntime.InferenceSession
    metadata: Metadata
    weights: Path

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def classes(self) -> ClassMap:
        return self.metadata.classes

    @property
    def name(self) -> str:
        """As tables call it."""
        return f"{self.metadata.model}/{self.metadata.run} (ONNX {self.metadata.precision})"

    @property
    def config(self) -> DictConfig:
        """The part of the run's that evaluations and predictions ask for."""
        return self.metadata.config

    @property
    def summary(self) -> Mapping[str, Any]:
        """The part of the run's that the file carries."""
        return self.metadata.summary

    @property
    def folder(self) -> Path:
        """Where its evaluations go: beside the file, those of another than model.onnx under its name."""
        return self.weights.parent if self.weights.name == EXPORTED.name else self.weights.with_suffix("")

    def probabilities(self, images: Tensor) -> Tensor:
        """uint8 RGB [B, 3, H, W] on any device to class probabilities [B, C, H, W], float32 on the CPU."""
        (found,) = self.session.run([OUTPUT], {INPUT: images.cpu().contiguous().numpy()})
        return torch.from_numpy(found)


def load_onnx(path: Path) -> OnnxTrained:
    """The model of a file; it computes on as many threads as PyTorch does.

    Raises ConfigError for a file that is missing or not from `semiseg export`, and CheckpointError for a damaged one.
    """
    if not path.is_file():
        raise ConfigError(f"run={path} does not exist. Give a file that semiseg export wrote.")
    session = open_session(path.read_bytes(), path)
    metadata = parse_metadata(path, session.get_modelmeta().custom_metadata_map)
    channels = session.get_outputs()[0].shape[1]
    if channels != metadata.classes.num_classes:
        raise CheckpointError(
            f"{path} predicts {channels} classes and names {metadata.classes.num_classes}: it is damaged. Export it "
            "again."
        )
    return OnnxTrained(session, metadata, path)


def open_session(model: bytes, path: Path) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU. Raises CheckpointError where the bytes, those of `path`, are no model of one image."""
    require("onnxruntime")
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = ERRORS_ONLY
    try:
        session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a class of its own for every status, all of them plain Exceptions
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is no ONNX file, or it is damaged ({reason}). Export it again.") from None
    return session
