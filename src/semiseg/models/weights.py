"""Loading weights, with a report of what fitted: nothing is loaded, or left out, in silence."""

from __future__ import annotations

import logging
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeGuard, runtime_checkable

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model_weights, list_models

from semiseg.errors import CheckpointError, ConfigError
from semiseg.tensor_file import read_tensors

StateDict = dict[str, Tensor]

WRAPPERS = ("state_dict", "model_state", "model_state_dict", "model")
MAX_WRAPPED = 8  # dictionaries around the state dict
DOWNLOAD_TIMEOUT = 30.0  # seconds without an answer; a firewall that drops packets would otherwise hold it for minutes

SHOWN = 3  # names in a message
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightsReport:
    """What a weights file gave a module. Names are the module's; `unexpected` are the file's that found no place."""

    matched: int
    total: int
    missing: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every tensor of the module came from the file."""
        return self.matched == self.total

    def __str__(self) -> str:
        text = f"{self.matched} of {self.total} tensors matched"
        notes = [
            f"{len(names)} {kind}: {_some(names)}"
            for kind, names in (("missing", self.missing), ("of another shape", self.mismatched))
            if names
        ]
        return f"{text} ({'; '.join(notes)})" if notes else text


def load_encoder_weights(encoder: nn.Module, encoder_name: str, spec: str | None) -> WeightsReport | None:
    """Give an encoder its starting weights and report what fitted; None when there is nothing to load.

    `spec` is None or "none" (keep the random initialisation), "imagenet" (torchvision's IMAGENET1K_V1 of
    `encoder_name`; V1 because the published results of DeepLab and S4GAN started there, and V2 exists for fewer
    encoders), or the path of a local file in the forms `read_state_dict` takes. A file that fits in part is used
    and warned about.

    Raises:
        ConfigError: torchvision has no ImageNet weights of this encoder.
        CheckpointError: the download failed, or the file is missing, unreadable or of another encoder.
    """
    if spec is None or spec == "none":
        return None
    if spec == "imagenet":
        return _fit(encoder, _download_imagenet(encoder_name), f"ImageNet weights of {encoder_name}")
    path = Path(spec).expanduser()
    if not path.is_file():
        raise CheckpointError(
            f"model.encoder_weights={spec} is neither imagenet nor a file: give imagenet, the path of a .pth, .pt or "
            ".safetensors file, or null for random weights"
        )
    return _fit(encoder, read_state_dict(path), str(path))


def load_weights(module: nn.Module, path: str | Path) -> WeightsReport:
    """Load a weights file into a whole model and report what fitted.

    Raises:
        CheckpointError: the file is missing, unreadable or of another model, or a tensor of either side has no partner.
    """
    path = Path(path).expanduser()
    given = read_state_dict(path)
    adopt_widths(module, _without(_common_prefix(module.state_dict(), given), given))
    report, fitting = _match(module, given, str(path))
    if not report.complete or report.unexpected:
        surplus = f"; {len(report.unexpected)} the model lacks: {_some(report.unexpected)}" if report.unexpected else ""
        raise CheckpointError(
            f"{path} does not fit {type(module).__name__}: {report}{surplus}; use the weights of the same model, "
            "encoder and number of classes"
        )
    return _copy(module, report, fitting, str(path))


@runtime_checkable
class Adopting(Protocol):
    """A network that may take its widths from the weights that it is given."""

    def adopt(self, state: Mapping[str, Tensor]) -> None: ...


def adopt_widths(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Let every network in `module` take on the widths that it has in a state dict of the whole."""
    for name, network in module.named_modules():
        if isinstance(network, Adopting):
            network.adopt(_without(f"{name}." if name else "", state))


def read_state_dict(path: Path) -> StateDict:
    """The tensors of a .safetensors file, or of a torch file that is a state dict or wraps one under a usual key.

    Torch files are read with `weights_only`: nothing in them is executed. Entries that are no dense tensors of numbers
    under a name are left out.

    Raises:
        CheckpointError: missing, unreadable, without tensors, or with numbers that are not finite.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no weights file {path}: check the path")
    try:
        content: object = load_file(path) if path.suffix == ".safetensors" else read_tensors(path)
    except Exception as error:  # a damaged pickle can raise anything, struct.error and IndexError included
        raise CheckpointError(
            f"{path} cannot be read as weights ({_reason(error)}): it is cut short, of another format, or holds "
            "more than tensors; copy it again, or save model.state_dict() with torch.save or as .safetensors"
        ) from error
    tensors = {key: value for key, value in _unwrap(content).items() if isinstance(key, str) and _is_dense(value)}
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors (found {type(content).__name__}): it is not a weights file")
    wrong = [key for key, value in tensors.items() if value.is_floating_point() and not value.float().isfinite().all()]
    if wrong:
        raise CheckpointError(
            f"{path} holds numbers that are not finite, in {_some(wrong)}: a training that diverged wrote it; take the "
            "weights of an earlier step"
        )
    return tensors


def _is_dense(value: object) -> TypeGuard[Tensor]:
    """Whether a value is a plain tensor with its numbers in memory, real and not more than the file held.

    A file of a few bytes can describe a tensor of any size that repeats one number.
    """
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta or value.is_quantized:
        return False
    return not value.is_complex() and value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _unwrap(content: object) -> Mapping[str, object]:
    for _ in range(MAX_WRAPPED):  # a file can hold itself
        if not isinstance(content, Mapping):
            break
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            return content
        content = inner
    return {}


def _download_imagenet(encoder_name: str) -> StateDict:
    if encoder_name not in list_models():
        raise ConfigError(
            f"there are no ImageNet weights of {encoder_name}: use a resnet18 to resnet152, or set "
            "model.encoder_weights=PATH or model.encoder_weights=null"
        )
    url = get_model_weights(encoder_name)["IMAGENET1K_V1"].url
    try:
        with _network_timeout(DOWNLOAD_TIMEOUT):
            return torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except Exception as error:  # the network's, the disk's, a wrong hash, a damaged file in torch.hub's cache
        raise CheckpointError(
            f"ImageNet weights of {encoder_name} could not be had from {url} ({_reason(error)}): without a "
            "network, give a local file, model.encoder_weights=PATH, or use random weights, model.encoder_weights=null"
        ) from error


@contextmanager
def _network_timeout(seconds: float) -> Iterator[None]:
    """torch.hub offers no timeout of its own, so the process-wide default is set while it runs."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _fit(module: nn.Module, given: StateDict, source: str) -> WeightsReport:
    return _copy(module, *_match(module, given, source), source)


def _match(module: nn.Module, given: StateDict, source: str) -> tuple[WeightsReport, StateDict]:
    """Pair the file's tensors with the module's by name, and keep the pairs of equal shape."""
    wanted = module.state_dict()
    prefix = _common_prefix(wanted, given)
    named = _without(prefix, given)
    present = [key for key in wanted if key in named]
    fitting = {key: named[key] for key in present if named[key].shape == wanted[key].shape}
    if not fitting:
        raise CheckpointError(
            f"{source}: no tensor fits {type(module).__name__}, it is of another model. It holds {_some(given)}; "
            f"wanted are {_some(wanted)}"
        )
    # Files converted from other frameworks lack BatchNorm's step counters, which nothing reads: not missed.
    missing = [key for key in wanted if key not in named and not key.endswith("num_batches_tracked")]
    mismatched = [
        f"{key} {tuple(named[key].shape)} for {tuple(wanted[key].shape)}" for key in present if key not in fitting
    ]
    unexpected = [key for key in given if key.removeprefix(prefix) not in wanted]
    total = len(fitting) + len(missing) + len(mismatched)
    return WeightsReport(len(fitting), total, missing, mismatched, unexpected), fitting


def _common_prefix(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """What to cut off the file's names ("module.", "encoder.", "model.backbone." ...) so that most are the module's."""
    votes: Counter[str] = Counter({"": 0})
    for key in given:
        parts = key.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in wanted:
                votes[".".join([*parts[:cut], ""]) if cut else ""] += 1
    return max(votes, key=lambda prefix: (votes[prefix], -len(prefix)))


def _without(prefix: str, given: Mapping[str, Tensor]) -> StateDict:
    """The tensors whose names begin with a prefix, by the rest of their names."""
    return {key.removeprefix(prefix): tensor for key, tensor in given.items() if key.startswith(prefix)}


def _copy(module: nn.Module, report: WeightsReport, fitting: StateDict, source: str) -> WeightsReport:
    # nn.Module's own method: smp's encoders override it with one that edits the given dictionary.
    nn.Module.load_state_dict(module, fitting, strict=False)
    log.log(logging.INFO if report.complete else logging.WARNING, "%s: %s", source, report)
    return report


def _some(names: Mapping[str, Tensor] | list[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:SHOWN]) + (", ..." if len(listed) > SHOWN else "")


def _reason(error: Exception) -> str:
    """Type and first sentence; torch goes on to advise loading without `weights_only`, which is not to be passed on."""
    sentence = (str(error).splitlines() or [""])[0].split(". ")[0]
    return f"{type(error).__name__}: {sentence}" if sentence else type(error).__name__
