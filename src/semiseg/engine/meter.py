"""Running sums that stay on the device until they are logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from semiseg.contracts import StepOutput


@dataclass
class Sums:
    """Sums over the steps that logged the same n names, kept as one tensor: a kernel for each log would cost more."""

    total: Tensor  # [n] float32, of the finite values
    finite: Tensor  # [n] int64, how many were
    times: int


class Meter:
    """Averages a method's logs and adds up its counts between two log steps, without waiting for the device.

    A value that is not finite is left out of its average, so that one bad step does not hide the others; `not_finite`
    names the logs that had such a value before the last reading.
    """

    def __init__(self) -> None:
        self.sums: dict[tuple[str, ...], Sums] = {}
        self.counts: dict[str, Tensor] = {}
        self.not_finite: list[str] = []

    def update(self, outputs: Sequence[StepOutput]) -> None:
        """Take in the logs and counts of a step's batches. "batches" counts the steps with any, however many those had:
        what is counted a step is then the same with smaller batches of which more are accumulated.
        """
        for output in outputs:
            if output.logs:
                self._add(tuple(output.logs), torch.stack([value.detach().float() for value in output.logs.values()]))
            self._count(output.counts)
        if any(output.counts for output in outputs):
            self._count({"batches": torch.ones((), dtype=torch.int64)})

    def _count(self, counts: Mapping[str, Tensor]) -> None:
        for name, value in counts.items():
            self.counts[name] = self.counts[name] + value if name in self.counts else value.clone()

    def _add(self, names: tuple[str, ...], values: Tensor) -> None:
        if names not in self.sums:
            self.sums[names] = Sums(torch.zeros_like(values), torch.zeros_like(values, dtype=torch.int64), 0)
        sums = self.sums[names]
        sums.total += values.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        sums.finite += values.isfinite()
        sums.times += 1

    def read(self) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Averages, and summed counts on the CPU; then starts anew. Logs that were never finite have no average.

        This is where the loop waits for the device.
        """
        total, finite, times = self._read_sums()
        self.not_finite = [name for name in total if finite[name] < times[name]]
        averages = {name: total[name] / finite[name] for name in total if finite[name]}
        counts = {name: value.cpu() for name, value in self.counts.items()}
        self.sums, self.counts = {}, {}
        return averages, counts

    def _read_sums(self) -> tuple[dict[str, float], dict[str, int], dict[str, int]]:
        """Sums, number of finite values and of all values by name."""
        total: dict[str, float] = {}
        finite: dict[str, int] = {}
        times: dict[str, int] = {}
        all_names = [(name, sums.times) for names, sums in self.sums.items() for name in names]
        totals, finites = (
            torch.cat(parts).tolist() if parts else []
            for parts in ([s.total for s in self.sums.values()], [s.finite for s in self.sums.values()])
        )
        for (name, n), value, count in zip(all_names, totals, finites, strict=True):
            total[name] = total.get(name, 0.0) + value
            finite[name] = finite.get(name, 0) + count
            times[name] = times.get(name, 0) + n
        return total, finite, times

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a resumed run logs the same averages."""
        sums = [[list(names), s.total.clone(), s.finite.clone(), s.times] for names, s in self.sums.items()]
        return {"sums": sums, "counts": self.counts}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Counterpart of `state_dict`. The sums of an older version, an entry a name, are begun anew."""
        saved = state["sums"] if isinstance(state["sums"], list) else []
        self.sums = {tuple(names): Sums(total.to(device), finite.to(device), n) for names, total, finite, n in saved}
        self.counts = {name: value.to(device) for name, value in state["counts"].items()}
