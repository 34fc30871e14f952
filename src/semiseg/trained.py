"""A trained system from disk: what `run=` names, ready to predict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from semiseg.builder import build_model
from semiseg.contracts import mean_probability
from semiseg.data.batches import normalize
from semiseg.data.classes import ClassMap
from semiseg.errors import CheckpointError, ConfigError
from semiseg.models.base import SegmentationModel
from semiseg.models.weights import load_weights
from semiseg.overrides import override
from semiseg.run_folder import stored_identity
from semiseg.schema import fits
from semiseg.stored import check_targets
from semiseg.tensor_file import run_of

BEST = ("best_model_ema.pth", "best_model.pth")  # the weights of record first
GROUPS = {"model": None, "trainer": None, "data": {}}  # what is read of a stored config -> what stands for its lack
EXPORTED = Path("exported", "model.onnx")  # below a run folder: what backend=onnx takes
BACKENDS = ("auto", "torch", "onnx")
REGISTERED = "models:/"  # a version of the MLflow model registry


@dataclass(frozen=True)
class Trained:
    """The network of a run with its best weights, in eval mode, and what belongs to it."""

    network: SegmentationModel
    classes: ClassMap
    config: DictConfig  # the run's, as composed
    summary: Mapping[str, Any]  # the run's; without `best_val_miou` where the weights are not its best
    folder: Path
    weights: Path
    device: torch.device

    @property
    def name(self) -> str:
        """As tables call it."""
        return f"{self.config.model.name}/{self.folder.name}"

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Tensor:
        """uint8 RGB [B, 3, H, W] on any device to class probabilities [B, C, H, W], float32 on the network's."""
        return mean_probability(self.network(normalize(images.to(self.device, non_blocking=True))))


class System(Protocol):
    """What predicts, and what belongs to it: a run's network, or a file that was exported from one."""

    @property
    def name(self) -> str: ...
    @property
    def classes(self) -> ClassMap: ...
    @property
    def config(self) -> DictConfig: ...
    @property
    def summary(self) -> Mapping[str, Any]: ...
    @property
    def folder(self) -> Path: ...
    @property
    def weights(self) -> Path: ...
    @property
    def device(self) -> torch.device: ...
    def probabilities(self, images: Tensor) -> Tensor: ...


def load_predictor(run: str | Path, device: torch.device, backend: str = "auto") -> System:
    """What `run=` names: an ONNX file, which runs on the CPU whatever the device, else what `load_trained` takes.

    The backend `onnx` takes the file that was exported from a run folder into EXPORTED, and `torch` no ONNX file.
    Raises ConfigError and CheckpointError as both loaders do, and where the backend does not fit what `run` names.
    """
    path = path_of(run)
    exported = path.suffix.lower() == ".onnx"
    if exported and backend == "torch":
        raise ConfigError(f"run={run} is an ONNX file, backend=torch runs weights. Give a run folder, or backend=onnx.")
    if not exported and backend != "onnx":
        return load_trained(path, device)
    from semiseg.export.onnx_model import load_onnx  # here, because it builds on this module

    return load_onnx(path) if exported else _load_exported(run, path)


def _load_exported(run: str | Path, path: Path) -> System:
    """The ONNX file of a run folder. Raises ConfigError where there is none, or one of other weights than its best."""
    from semiseg.export.onnx_model import load_onnx
    from semiseg.prediction.record import fingerprint

    folder, weights = _locate(path)
    file = folder / EXPORTED
    command = f"semiseg export {override('run', Path(run).as_posix())}"
    if weights == path:
        raise ConfigError(f"run={run} is a weights file, of which backend=onnx has no ONNX file. Give a run folder.")
    if not file.is_file():
        raise ConfigError(f"{file} does not exist, which backend=onnx takes. Write it first: {command}")
    model = load_onnx(file)
    if model.metadata.weights != fingerprint(weights):
        raise ConfigError(f"{file} is not of the best weights that the run has now. Write it again: {command}")
    return model


def load_trained(run: str | Path, device: torch.device) -> Trained:
    """The system of a run folder, of a weights file in its `checkpoints/`, or of a version of the model registry.

    Raises ConfigError where there is no such run, it has no classes on record or its config names what is not to be
    built, and CheckpointError for weights that are missing, damaged, another run's or of another network.
    """
    folder, weights = _locate(path_of(run))
    config, summary = _config(folder), _summary(folder)
    if not is_best(folder, weights):
        summary = {key: value for key, value in summary.items() if key != "best_val_miou"}
    classes = ClassMap(tuple(summary["classes"]), tuple(tuple(c) for c in summary["colors"].values()))
    network = build_model(config, classes.num_classes, restored=True)
    load_weights(network, weights)
    _check_owner(folder, weights)
    layout = torch.channels_last if config.trainer.channels_last else torch.contiguous_format
    network.to(device=device, memory_format=layout).eval()  # pyright: ignore[reportCallIssue]
    return Trained(network.requires_grad_(False), classes, config, summary, folder, weights, device)


def path_of(run: str | Path) -> Path:
    """The folder or file that `run=` names; `models:/NAME/VERSION` is the folder into which it was downloaded.

    Raises ConfigError, CheckpointError and SemisegError as `semiseg.registry.fetch` does.
    """
    text = run if isinstance(run, str) else run.as_posix()
    if not text.startswith(REGISTERED):
        if text.startswith("models:"):
            name = text.removeprefix("models:") or "NAME"
            raise ConfigError(f"run={text}: give a registered model as run=models:/{name}/1, or .../latest.")
        return Path(run).expanduser()
    from semiseg.registry.fetch import fetch  # here, because MLflow is heavy and few runs are registered

    return fetch(text)


def _locate(path: Path) -> tuple[Path, Path]:
    """Run folder and weights file."""
    if path.exists() and (len(path.parts) < 3 or ".." in path.parts):  # what was typed may not hold the run's name
        path = path.resolve()
    if path.is_file():
        _check_kind(path)
        folder = path.parent.parent
        if not (folder / ".hydra" / "config.yaml").is_file():
            raise ConfigError(
                f"run={path} is in no run folder, so that its network and classes are not known. Give the folder of a "
                "run, or put the file into the checkpoints folder of the run that it belongs to."
            )
        return folder, path
    if not (path / ".hydra" / "config.yaml").is_file():
        kind = "holds no run (no .hydra/config.yaml)" if path.is_dir() else "does not exist"
        raise ConfigError(f"run={path} {kind}. Give the folder of a run, such as runs/semiseg/NAME.")
    found = _best_of(path)
    if found is None:
        raise CheckpointError(f"{path} has no best weights: the run was not evaluated yet. Continue it first.")
    return path, found


def is_best(folder: Path, weights: Path) -> bool:
    """Whether a weights file is the one of record in a run folder."""
    best = _best_of(folder)
    return best is not None and best.samefile(weights)


def _best_of(folder: Path) -> Path | None:
    return next((file for name in BEST if (file := folder / "checkpoints" / name).is_file()), None)


def _check_kind(path: Path) -> None:
    """Raises ConfigError for a file that `semiseg export` wrote, which holds no weights to load."""
    if path.suffix.lower() == ".onnx":
        raise ConfigError(f"run={path} is an ONNX file, and weights are needed here. Give the run folder.")
    if path.suffix.lower() == ".pt2":
        raise ConfigError(
            f"run={path} is a torch.export file, which is for programs without this project. Give the run folder, or "
            "to evaluate or predict without weights model.onnx."
        )


def _check_owner(folder: Path, weights: Path) -> None:
    """Raises CheckpointError for weights that another run sealed; files and folders that do not say whose are taken."""
    identity = stored_identity(folder)
    if identity is not None and run_of(weights) not in (None, identity):
        raise CheckpointError(
            f"{weights} belongs to another run than {folder}, whose scores are not its own. Put the run's own file "
            "back, or give the folder of the run that it was copied from."
        )


def _config(folder: Path) -> DictConfig:
    file = folder / ".hydra" / "config.yaml"
    try:
        config = OmegaConf.load(file)
        tree = OmegaConf.to_container(config, resolve=True)
    except Exception as error:  # YAML's and OmegaConf's many
        raise ConfigError(f"{file} cannot be read ({type(error).__name__}): it is damaged.") from error
    if not isinstance(config, DictConfig) or not isinstance(tree, dict):
        raise ConfigError(f"{file} is no configuration of a run: it is a list.")
    if lacks := [group for group, absent in GROUPS.items() if not isinstance(tree.get(group, absent), dict)]:
        raise ConfigError(
            f"{file} is no configuration of a run: it has no settings of {', '.join(lacks)}. Put the run's own back."
        )
    check_targets({group: tree.get(group) for group in GROUPS}, file)
    return config


def _summary(folder: Path) -> Mapping[str, Any]:
    file = folder / "summary.json"
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{folder} has no summary.json: the run has not ended. Continue it first.") from None
    except ValueError as error:
        raise ConfigError(f"{file} is damaged: {error}.") from error
    if not isinstance(summary, dict) or not {"classes", "colors"} <= summary.keys():
        raise ConfigError(f"{file} names no classes: the run is of an older version. Train it again.")
    names, colors = summary["classes"], summary["colors"]
    if not fits(names, list[str]) or not fits(colors, dict[str, list[int]]) or [*colors] != names or not names:
        raise ConfigError(f"{file} is damaged: classes must be a list of names, colors a mapping of each to its RGB.")
    if any(len(color) != 3 or not all(0 <= value <= 255 for value in color) for color in colors.values()):
        raise ConfigError(f"{file} is damaged: a colour is three numbers of 0 to 255.")
    return summary
