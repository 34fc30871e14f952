"""Systems take turns, and the ratio is taken within a round."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from semiseg.data.classes import ClassMap
from semiseg.export import costs
from semiseg.export.patches import check_batches, spread, stack_resized


class Clock:
    """Time that passes only while a system predicts."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Slow:
    """Takes the given seconds, a round after the other, and again from the start."""

    classes = ClassMap(("a", "b"), ((0, 0, 0), (1, 1, 1)))

    def __init__(self, clock: Clock, seconds: list[float]) -> None:
        self.clock, self.seconds, self.calls = clock, seconds, 0

    def probabilities(self, images: Tensor) -> Tensor:
        self.clock.now += self.seconds[self.calls % len(self.seconds)]
        self.calls += 1
        return images


def test_latencies_are_medians_without_the_first_round(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(costs, "time", clock)
    monkeypatch.setattr(costs, "thread_counts", lambda: [1])
    monkeypatch.setattr(costs, "BATCHES", (2,))
    monkeypatch.setattr(costs, "SECONDS", 0)
    systems = {
        "first": lambda: Slow(clock, [100, 4, 8, 6]),
        "second": lambda: Slow(clock, [100, 2, 1, 2]),
    }
    rows = costs.latencies(systems, [torch.zeros(3, 40, 40, dtype=torch.uint8)])
    assert rows["first"] == [{"threads": 1, "batch": 2, "ms": 6000, "fastest_ms": 4000, "speedup": 1, "rounds": 3}]
    assert rows["second"] == [{"threads": 1, "batch": 2, "ms": 2000, "fastest_ms": 1000, "speedup": 3, "rounds": 3}]


def test_threads_are_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    with costs.torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_a_file_that_cannot_be_loaded_has_no_memory(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model")
    assert math.isnan(costs.peak_memory(tmp_path / "x.onnx", 40, 40))


def test_patches_are_spread_and_brought_to_one_size() -> None:
    numbers = torch.arange(100).numpy() * 3
    assert spread(numbers, 4).tolist() == [0, 99, 198, 297] and spread(numbers[:2], 9).tolist() == [0, 3]
    images = [torch.full((3, 40, 48), 7, dtype=torch.uint8), torch.full((3, 20, 90), 9, dtype=torch.uint8)]
    stacked = stack_resized(images, 3, 64, 32)
    assert stacked.shape == (3, 3, 64, 33) and [int(each.max()) for each in stacked] == [7, 9, 7]
    assert [list(batch.shape) for batch in check_batches(images)] == [[1, 3, 40, 48], [3, 3, 50, 72]]
