"""The average of a network, recomputed with the formula."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from semiseg.methods import Ema


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))


def train_step(net: nn.Module) -> None:
    """Moves parameters, BatchNorm statistics and the count of batches."""
    net.train()
    net(torch.randn(2, 3, 8, 8) + 5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += torch.randn_like(parameter)


def test_decay_warms_up_to_its_setting() -> None:
    ema = Ema(network(), decay=0.999)
    assert [ema.decay_at(t) for t in (0, 1, 90)] == pytest.approx([1 / 10, 2 / 11, 91 / 100])
    assert ema.decay_at(8990) == pytest.approx(8991 / 9000)
    assert ema.decay_at(8991) == ema.decay_at(50_000) == 0.999


def test_parameters_and_statistics_are_averaged_and_counts_copied() -> None:
    net = network()
    ema = Ema(net, decay=0.5)
    expected = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    for t in range(12):
        train_step(net)
        ema.update(net)
        decay = min(0.5, (1 + t) / (10 + t))
        for name, tensor in net.state_dict().items():
            averaged = tensor.is_floating_point()
            expected[name] = decay * expected[name] + (1 - decay) * tensor if averaged else tensor.clone()
    assert ema.updates == 12
    assert expected["1.num_batches_tracked"] == 12
    torch.testing.assert_close(dict(ema.network.state_dict()), expected)


def test_average_is_separate_from_the_network_and_takes_no_gradient() -> None:
    net = network()
    before = copy.deepcopy(net.state_dict())
    ema = Ema(net, decay=0.9)
    train_step(net)
    torch.testing.assert_close(dict(ema.network.state_dict()), dict(before))
    assert not any(parameter.requires_grad for parameter in ema.parameters())


def test_average_stays_in_eval_mode_inside_a_training_module() -> None:
    holder = nn.ModuleDict({"ema": Ema(network(), decay=0.9)})
    holder.train()
    assert not any(module.training for module in holder["ema"].modules())


def test_restored_average_goes_on_with_the_same_warm_up() -> None:
    net = network()
    ema, again = Ema(net, decay=0.999), Ema(network(), decay=0.999)
    for _ in range(3):
        train_step(net)
        ema.update(net)
    again.load_state_dict(ema.state_dict())
    train_step(net)
    for each in (ema, again):
        each.update(net)
    assert again.updates == 4
    torch.testing.assert_close(dict(again.network.state_dict()), dict(ema.network.state_dict()), rtol=0, atol=0)


def test_a_step_that_was_skipped_leaves_the_average_as_it_is() -> None:
    net = network()
    ema = Ema(net, decay=0.5)
    train_step(net)
    before = copy.deepcopy(ema.network.state_dict())
    ema.update(net, torch.tensor(0.0))
    for name, tensor in ema.network.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(tensor, before[name]), name
    assert ema.updates == 1
