"""A smaller network, cut from the one of a finished run."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semiseg.config import build, resolved
from semiseg.errors import CheckpointError, ConfigError
from semiseg.models.base import SegmentationModel
from semiseg.models.pruning import TRACED, cut_channels, parameter_count
from semiseg.schema import signature_of, target_of

if TYPE_CHECKING:
    from semiseg.trained import Trained

AMOUNT = 0.25  # of the parameters
MOST = 0.9  # of them: beyond, layers are left with a channel or two
OF_ITS_START = ("name", "recipe", "encoder_weights", "freeze_bn_affine")  # of a model node, not of what the network is


class Pruned(SegmentationModel):
    """A network with `amount` of its parameters removed, whole channels at a time; logits as the network's own.

    `run` is the finished run whose best weights it is cut from, or null where weights are about to be loaded: their
    shapes then say the widths, and the run is needed no more. `base` is the node of that run's network.

    Raises:
        ConfigError: an amount out of range, no such run, one of another network or of other classes, or a network that
            cannot be pruned.
        CheckpointError: the run's weights cannot be read.
    """

    def __init__(self, num_classes: int, run: str | None, base: Mapping[str, Any], amount: float = AMOUNT) -> None:
        _check_amount(amount)
        nn.Module.__init__(self)  # the encoder, which the base class would add, is a part of the network below
        self.num_classes = num_classes
        self.weights_report = None
        self._origin: str | None = None
        self.network: SegmentationModel = build(base, "model.base", SegmentationModel, num_classes=num_classes)
        if run is not None:
            self._cut(run, base, amount)

    def _cut(self, run: str, base: Mapping[str, Any], amount: float) -> None:
        source = source_of(run, base)
        if source.classes.num_classes != self.num_classes:
            raise ConfigError(
                f"model.run={run} knows {source.classes.num_classes} classes ({', '.join(source.classes.names)}) and "
                f"the data has {self.num_classes}: give a run that was trained on this data"
            )
        cut_channels(source.network, amount)
        before, widths = parameter_count(self), self._widths()
        self.load_state_dict({f"network.{name}": tensor for name, tensor in source.network.state_dict().items()})
        after, layers = parameter_count(self), sum(a != b for a, b in zip(widths, self._widths(), strict=True))
        self._origin = (
            f"Pruned {run}: {before / 1e6:.2f} M -> {after / 1e6:.2f} M parameters ({1 - after / before:.1%} gone), "
            f"widths of {layers} layers"
        )

    @property
    def origin(self) -> str | None:
        """What was cut from what."""
        return self._origin

    def _widths(self) -> list[int]:
        return [layer.out_channels for layer in self.modules() if isinstance(layer, nn.Conv2d)]

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)

    def parameter_roles(self) -> dict[str, list[nn.Parameter]]:
        """The network's own."""
        return self.network.parameter_roles()

    def adopt(self, state: Mapping[str, Tensor]) -> None:
        """Give every layer the width that it has in a state dict; the weights themselves are still to be loaded.

        Parameters stay the objects that they are, for the optimiser and the average that hold them. A state dict of
        another network changes nothing: whoever loads it says what does not fit.
        """
        if self._can_take(state):
            self._take(state)

    def _can_take(self, state: Mapping[str, Tensor]) -> bool:
        """Whether these are narrower layers of this network, which fit each other and still tell all classes apart."""
        own = self._tensors()
        if any(name not in state or not _is_narrower(state[name], own[name]) for name in own):
            return False
        trial = copy.deepcopy(self).to("meta").eval()  # computes shapes alone
        trial._take(state)
        try:
            logits = trial(torch.empty(TRACED, device="meta"))
        except RuntimeError:
            return False
        return logits.shape[-3] == self.num_classes

    def _take(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in self._tensors().items():
            if tensor.shape != state[name].shape:
                tensor.data = _empty(tensor, state[name].shape)
                tensor.grad = None
        for layer in self.modules():
            _count_channels(layer)

    def _tensors(self) -> dict[str, Tensor]:
        """All that has a width; BatchNorm's step counters have none, and a converted file may lack them."""
        named = chain(self.named_parameters(), self.named_buffers())
        return {name: tensor for name, tensor in named if tensor.dim()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Of a network of any widths."""
        self.adopt(state_dict)
        return super().load_state_dict(state_dict, strict, assign)


def check_start(node: Mapping[str, Any]) -> None:
    """Hold a model node of `Pruned` against its run, before any data is read.

    Raises ConfigError and CheckpointError as the constructor does.
    """
    _check_amount(node.get("amount", AMOUNT))
    if node.get("run") is None:
        raise ConfigError("model.run is null: give the finished run to prune, such as model.run=runs/semiseg/NAME")
    source_of(node["run"], node["base"])


def source_of(run: str, base: Mapping[str, Any]) -> Trained:
    """The system of a finished run. Raises ConfigError where there is none, or its network is not `base`."""
    from semiseg.trained import load_trained  # here, because it builds on this package

    try:
        trained = load_trained(run, torch.device("cpu"))
    except (ConfigError, CheckpointError) as error:
        said = str(error)
        raise type(error)(f"model.{said}" if said.startswith("run=") else f"model.run={run}: {said}") from None
    if isinstance(trained.network, Pruned):
        raise ConfigError(
            f"model.run={run} is pruned already: give the run that it was cut from, with a larger model.amount"
        )
    if fault := _fault(trained, base):
        raise ConfigError(f"model.run={run} {fault}")
    return trained


def _fault(trained: Trained, base: Mapping[str, Any]) -> str | None:
    """In what the network of a run is not the one described, and what to give instead."""
    theirs = resolved(trained.config.model, "model")
    if theirs["_target_"] != base["_target_"]:
        word = (trained.summary.get("choices") or {}).get("model", theirs["name"])
        kind, wanted = (target.rpartition(".")[2] for target in (theirs["_target_"], base["_target_"]))
        return (
            f"is a run of {word}, a {kind}, and model.base is a {wanted}: name the run's own network with "
            f"model@model.base={word}"
        )
    own, described = _what_it_is(theirs), _what_it_is(base)
    differing = {f"model.base.{key}": value for key, value in own.items() if described.get(key) != value}
    remedy = " ".join(f"{key}={'null' if value is None else value}" for key, value in differing.items())
    return f"was trained with other settings of its network: give {remedy.replace(', ', ',')}" if differing else None


def _what_it_is(node: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that decide on the layers and their order, with the constructor's defaults."""
    parameters = signature_of(target_of(node, "model.base")).values()
    values = {each.name: each.default for each in parameters if each.default is not each.empty} | dict(node)
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in values.items()
        if key not in OF_ITS_START
    }


def _check_amount(amount: float) -> None:
    if not 0 < amount <= MOST:
        raise ConfigError(
            f"model.amount={amount} is not possible: use a share of the parameters above 0 and up to {MOST}"
        )


def _is_narrower(given: Tensor, own: Tensor) -> bool:
    """Whether a tensor can be this one with as many channels or fewer."""
    shapes = zip(given.shape, own.shape, strict=False)
    return given.dim() == own.dim() and given.shape[2:] == own.shape[2:] and all(0 < g <= o for g, o in shapes)


def _empty(like: Tensor, shape: torch.Size) -> Tensor:
    """Zeros, channels last where the tensor's are: a resumed training must compute in the same order."""
    last = like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last)
    return like.data.new_zeros(shape).to(memory_format=torch.channels_last if last else torch.contiguous_format)


def _count_channels(layer: nn.Module) -> None:
    """Set a layer's numbers of channels by its weights."""
    if isinstance(layer, nn.Conv2d):
        outputs, inputs_of_group = layer.weight.shape[:2]
        if layer.groups == layer.in_channels > 1:  # depthwise: a group is a channel
            layer.groups = outputs * layer.groups // layer.out_channels
        layer.out_channels, layer.in_channels = outputs, inputs_of_group * layer.groups
    elif isinstance(layer, nn.BatchNorm2d):
        layer.num_features = len(layer.running_mean) if layer.running_mean is not None else layer.num_features
