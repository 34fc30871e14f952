"""Cutting whole channels out of a network, until a share of its parameters is gone."""

from __future__ import annotations

import importlib
import math
from typing import Any

import torch
from torch import Tensor, nn

from semiseg.errors import ConfigError
from semiseg.schema import one_line

TRACED = (1, 3, 65, 65)  # of the image that the dependency graph is read from
ROUNDS = 100  # each takes that part of every layer's channels


def cut_channels(network: nn.Module, amount: float) -> None:
    """Remove the least important channels of every layer, until `amount` of the parameters are gone.

    A channel goes out of all layers that share it at once, as the dependency graph says: out of a convolution, its
    BatchNorm, what is added to it, and the inputs of all that read it. What the network puts out, the class scores,
    stays. Nothing here is random.

    Source: Fang et al. 2023 (DepGraph) with its library, Torch-Pruning.

    Raises:
        ConfigError: the library is not installed or cannot follow the network, or not that much can be taken.
    """
    library = _library()
    goal = parameter_count(network) * (1 - amount)
    try:
        pruner = _pruner(library, network.eval())
        # Layers lose inputs and outputs: with a part r of the channels gone, (1 - r)^2 of the weights or more are left.
        pruner.current_step = max(0, int(ROUNDS * (1 - math.sqrt(1 - amount))) - 1)
        _cut(pruner, network, goal)
        with torch.inference_mode():
            network(torch.zeros(TRACED))
    except Exception as error:  # the library raises whatever its reading of the network ends in
        raise ConfigError(
            f"torch-pruning cannot follow the layers of {type(network).__name__} ({type(error).__name__}: "
            f"{one_line(error)}): prune a run of another network"
        ) from error
    if parameter_count(network) > goal:
        raise ConfigError(f"model.amount={amount} cannot be taken of {type(network).__name__}: give a smaller share")


def _cut(pruner: Any, network: nn.Module, goal: float) -> None:
    while pruner.current_step < ROUNDS - 1:
        for group in pruner.step(interactive=True):
            if parameter_count(network) <= goal:
                return
            group.prune()


def parameter_count(network: nn.Module) -> int:
    """Numbers that are trained, or could be."""
    return sum(parameter.numel() for parameter in network.parameters())


def _library() -> Any:
    try:
        return importlib.import_module("torch_pruning")
    except ImportError:
        raise ConfigError('pruning needs the package torch-pruning: pip install -e ".[prune]"') from None


def _pruner(library: Any, network: nn.Module) -> Any:
    image = torch.zeros(TRACED)
    with torch.enable_grad():  # the graph is read from the operations that a gradient would go back through
        graph = library.DependencyGraph().build_dependency(network.requires_grad_(True), image)
        return library.pruner.MagnitudePruner(
            network,
            image,
            InProportion(library),
            pruning_ratio=1.0,
            iterative_steps=ROUNDS,
            ignored_layers=_last_layers(graph),
            in_channel_groups={},  # the library's own defaults are shared by all pruners of a process
            out_channel_groups={},
        )


def _last_layers(graph: Any) -> list[nn.Module]:
    """The convolutions after which no other comes: those that put out the class scores."""
    convolutions = {node for module, node in graph.module2node.items() if isinstance(module, nn.Conv2d)}
    return [node.module for node in convolutions if not _after(node) & convolutions]


def _after(node: Any) -> set[Any]:
    """All nodes of the graph that a node leads to."""
    found: set[Any] = set()
    open_ends = list(node.outputs)
    while open_ends:
        each = open_ends.pop()
        if each not in found:
            found.add(each)
            open_ends.extend(each.outputs)
    return found


class InProportion:
    """The importance of a group's channels: their place, 0 to 1, among the channels of the same producers.

    Places are by the mean squared L2 norm of all weights that touch a channel. Norms of layers that a concatenation
    joins do not compare: ranked together, a skip of 32 channels could lose 22 where the 128 beside it lose none.
    """

    def __init__(self, library: Any) -> None:
        self.magnitude = library.importance.GroupMagnitudeImportance(p=2)
        self.produces = library.prune_conv_out_channels
        self.at_first: dict[tuple[nn.Module, ...], int] = {}

    def __call__(self, group: Any) -> Tensor:
        norms = self.magnitude(group)
        places = torch.empty_like(norms)
        for producers, channels in self._by_producers(group, len(norms)).items():
            first = self.at_first.setdefault(producers, len(channels))
            gone = first - len(channels)
            order = norms[channels].argsort(stable=True).argsort()
            places[channels] = (gone + order + 0.5) / first
        return places

    def _by_producers(self, group: Any, size: int) -> dict[tuple[nn.Module, ...], list[int]]:
        """The channels by the convolutions that they are put out by."""
        producers: list[tuple[nn.Module, ...]] = [()] * size
        for item in group:
            if item.dep.handler == self.produces:
                for channel in item.root_idxs:
                    producers[channel] += (item.dep.target.module,)
        found: dict[tuple[nn.Module, ...], list[int]] = {}
        for channel, key in enumerate(producers):
            found.setdefault(key, []).append(channel)
        return found
