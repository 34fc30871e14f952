"""Averages and counts between two log steps."""

from __future__ import annotations

import math

import pytest
import torch

from semiseg.contracts import StepOutput
from semiseg.engine.meter import Meter


def output(logs: dict[str, float], counts: dict[str, list[int]] | None = None) -> StepOutput:
    tensors = {name: torch.tensor(value) for name, value in (counts or {}).items()}
    return StepOutput({}, {name: torch.tensor(value) for name, value in logs.items()}, tensors)


def filled() -> Meter:
    meter = Meter()
    meter.update([output({"loss/ce": 1.0}, {"kept": [1, 2]})])
    meter.update([output({"loss/ce": 2.0, "loss/st": 5.0}, {"kept": [10, 20]})])
    return meter


def test_logs_are_averaged_over_the_times_they_came_and_counts_added_up() -> None:
    averages, counts = filled().read()
    assert averages == pytest.approx({"loss/ce": 1.5, "loss/st": 5.0})
    assert counts["kept"].tolist() == [11, 22]


def test_a_step_counts_once_however_many_batches_it_has() -> None:
    meter = Meter()
    for batches in (1, 4):
        meter.update([output({}, {"kept": [8 // batches]})] * batches)
    meter.update([output({"loss/ce": 1.0})])  # with nothing to count
    counts = meter.read()[1]
    assert (counts["kept"].tolist(), int(counts["batches"])) == ([16], 2)


def test_reading_starts_anew() -> None:
    meter = filled()
    meter.read()
    assert meter.read() == ({}, {})


def test_what_it_was_given_stays_as_it_was() -> None:
    first = output({"loss/ce": 1.0}, {"kept": [1, 2]})
    meter = Meter()
    for _ in range(3):
        meter.update([first])
    assert first.logs["loss/ce"] == 1.0
    assert first.counts["kept"].tolist() == [1, 2]


def test_no_graph_is_kept_alive() -> None:
    meter = Meter()
    meter.update([StepOutput({}, {"loss/ce": torch.ones((), requires_grad=True) * 2})])
    assert not any(sums.total.requires_grad for sums in meter.sums.values())


def test_restored_meter_reads_the_same_averages() -> None:
    meter, again = filled(), Meter()
    again.load_state_dict(meter.state_dict(), torch.device("cpu"))
    for each in (meter, again):
        each.update([output({"loss/ce": 6.0}, {"kept": [1, 1]})])
    assert again.read()[0] == meter.read()[0] == pytest.approx({"loss/ce": 3.0, "loss/st": 5.0})


def test_a_value_that_is_not_finite_is_left_out_and_named() -> None:
    meter = filled()
    meter.update([output({"loss/ce": math.inf, "loss/fm": math.nan})])
    averages, _ = meter.read()
    assert averages == pytest.approx({"loss/ce": 1.5, "loss/st": 5.0})
    assert meter.not_finite == ["loss/ce", "loss/fm"]
    meter.read()
    assert meter.not_finite == []


def test_the_sums_of_an_older_checkpoint_are_begun_anew() -> None:
    meter = Meter()
    old = {"sums": {"loss/ce": torch.tensor(3.0)}, "times": {"loss/ce": 2}, "counts": {}}
    meter.load_state_dict(old, torch.device("cpu"))
    meter.update([output({"loss/ce": 6.0})])
    assert meter.read()[0] == {"loss/ce": 6.0}
