"""Exponential moving average of a network, parameters and BatchNorm buffers alike."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class Ema(nn.Module):
    """A copy of the network that follows it slowly; evaluated in its place and used as teacher.

    The decay is min(decay, (1 + t) / (10 + t)) after t updates, otherwise the first evaluations would read the random
    start. Averaging the BatchNorm statistics too keeps them in step with the averaged weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.updates = 0
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    def decay_at(self, updates: int) -> float:
        """Decay of the update with this number (the first is 0)."""
        return min(self.decay, (1 + updates) / (10 + updates))

    @torch.no_grad()
    def update(self, network: nn.Module, taken: Tensor | float = 1.0) -> None:
        """Move towards `network` once; integer buffers (batch counts) are copied.

        Where `taken`, 0-d on the device, is 0.0, the step was skipped: the average stays where it is. The update counts
        all the same, as the step does for the learning rate.
        """
        weight = (1.0 - self.decay_at(self.updates)) * taken
        self.updates += 1
        mine, theirs = self.network.state_dict(), network.state_dict()
        floats = [name for name, tensor in mine.items() if tensor.is_floating_point()]
        averages = [mine[name] for name in floats]
        # A lerp in three parts: it takes a weight from the device only one tensor at a time.
        change = torch._foreach_sub([theirs[name] for name in floats], averages)
        torch._foreach_mul_(change, weight)
        torch._foreach_add_(averages, change)
        for name in mine.keys() - set(floats):
            mine[name].copy_(theirs[name])

    def train(self, mode: bool = True) -> Ema:
        """Stays in eval mode: an average has no training behaviour."""
        return super().train(False)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the averaged network."""
        return self.network(image)

    def get_extra_state(self) -> Any:
        """The number of updates, so that a checkpoint continues the warm-up."""
        return {"updates": self.updates}

    def set_extra_state(self, state: Any) -> None:
        """Counterpart of `get_extra_state`."""
        self.updates = state["updates"]
