"""Running sums that stay on the device until they are logged."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from semiseg.contracts import StepOutput


class Meter:
    """Averages a method's logs and adds up its counts between two log steps, without waiting for the device."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.times: dict[str, int] = {}
        self.counts: dict[str, Tensor] = {}

    def update(self, output: StepOutput) -> None:
        """Take in one step's logs and counts."""
        for name, value in output.logs.items():
            value = value.detach()
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
            self.times[name] = self.times.get(name, 0) + 1
        for name, value in output.counts.items():
            self.counts[name] = self.counts[name] + value if name in self.counts else value.clone()

    def read(self) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Averages, and summed counts on the CPU; then starts anew.

        This is where the loop waits for the device: once for all averages, once for all counts.
        """
        averages = self.averages()
        counts = {name: value.cpu() for name, value in self.counts.items()}
        self.sums, self.times, self.counts = {}, {}, {}
        return averages, counts

    def averages(self) -> dict[str, float]:
        """Averages so far; waits for the device once."""
        names = list(self.sums)
        values = torch.stack([self.sums[n].float() for n in names]).tolist() if names else []
        return {name: value / self.times[name] for name, value in zip(names, values, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a resumed run logs the same averages."""
        return {"sums": self.sums, "times": self.times, "counts": self.counts}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Counterpart of `state_dict`."""
        self.sums = {name: value.to(device) for name, value in state["sums"].items()}
        self.counts = {name: value.to(device) for name, value in state["counts"].items()}
        self.times = dict(state["times"])
