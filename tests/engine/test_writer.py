"""Copies do not follow their originals, writes keep their order, and a failure is told."""

from __future__ import annotations

import threading
from collections import OrderedDict

import pytest
import torch
from torch import nn

from semiseg.engine.writer import WAITING, BackgroundWriter, snapshot


def test_a_snapshot_does_not_follow_its_original() -> None:
    network = nn.BatchNorm2d(3)
    state = {"model": network.state_dict(), "list": [torch.ones(2), (1, "a", None)], "step": 3}
    copied = snapshot(state)
    with torch.no_grad():
        network.weight.fill_(7)
    state["list"][0].fill_(7)
    assert torch.equal(copied["model"]["weight"], torch.ones(3)) and torch.equal(copied["list"][0], torch.ones(2))
    assert copied["list"][1] == (1, "a", None) and copied["step"] == 3
    assert isinstance(copied["model"], OrderedDict) and copied["model"]._metadata == network.state_dict()._metadata


def test_a_tensor_that_occurs_twice_is_copied_once() -> None:
    network = nn.Linear(3, 3)
    copied = snapshot({"checkpoint": {"model_state": network.state_dict()}, "weights": network.state_dict()})
    assert copied["weights"]["weight"] is copied["checkpoint"]["model_state"]["weight"]
    assert copied["weights"]["weight"].data_ptr() != network.weight.data_ptr()


def test_memory_layout_is_kept() -> None:
    tensor = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    assert snapshot(tensor).stride() == tensor.stride()


def test_writes_run_in_order_and_are_done_when_it_is_closed() -> None:
    writer, written = BackgroundWriter(), []
    for number in range(20):
        writer.submit(lambda number=number: written.append(number))
    writer.close()
    assert written == list(range(20))
    writer.submit(lambda: written.append(20))  # it may be used again
    writer.close()
    assert written[-1] == 20


def test_a_call_does_not_wait_for_its_own_write_and_no_more_than_two_are_unfinished() -> None:
    writer, go, called = BackgroundWriter(), threading.Event(), []
    for number in range(WAITING):
        writer.submit(lambda number=number: called.append((number, go.wait(60))))
    third = threading.Thread(target=lambda: writer.submit(lambda: called.append((WAITING, True))))
    third.start()
    third.join(0.1)
    assert third.is_alive() and called == []
    go.set()
    third.join(60)
    writer.close()
    assert [number for number, _ in called] == [0, 1, 2]


def test_a_failure_is_raised_by_every_later_call_and_nothing_more_is_written() -> None:
    writer, written = BackgroundWriter(), []

    def fail() -> None:
        raise OSError("No space left on device")

    writer.submit(fail)
    for _ in range(2):
        with pytest.raises(OSError, match="No space"):
            writer.close()
    with pytest.raises(OSError, match="No space"):
        writer.submit(lambda: written.append(1))
    assert written == []
