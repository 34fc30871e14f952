"""Schedules against their formulas, groups by role, and what a resumed optimiser keeps."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from semiseg.engine.optim import (
    build_optimizer,
    load_optimizer,
    lr_factor,
    optimizer_kind,
    parameter_groups,
    set_lr,
    step_unless,
    total_steps,
)
from semiseg.engine.settings import OptimConfig, TrainerConfig
from semiseg.errors import CheckpointError


def roles() -> dict[str, list[nn.Parameter]]:
    torch.manual_seed(0)
    return {name: [nn.Parameter(torch.randn(3))] for name in ("encoder", "head", "head_bias")}


def test_polynomial_follows_deeplab() -> None:
    config = OptimConfig(schedule="polynomial", power=0.9)
    for step in (0, 1, 12_300, 49_999):
        assert lr_factor(config, step, 50_000) == pytest.approx((1 - step / 50_000) ** 0.9, rel=1e-12)


def test_cosine_begins_after_the_warm_up() -> None:
    config = OptimConfig(schedule="cosine", warmup_steps=1000)
    assert lr_factor(config, 0, 50_000) == pytest.approx(1 / 1000)
    assert lr_factor(config, 499, 50_000) == pytest.approx(0.5)
    assert lr_factor(config, 999, 50_000) == lr_factor(config, 1000, 50_000) == 1.0
    assert lr_factor(config, 25_500, 50_000) == pytest.approx(0.5)
    expected = 0.5 * (1 + math.cos(math.pi * (40_000 - 1000) / 49_000))
    assert lr_factor(config, 40_000, 50_000) == pytest.approx(expected)


def test_constant_stays_at_one() -> None:
    config = OptimConfig(schedule="constant", warmup_steps=2)
    assert [lr_factor(config, step, 10) for step in (0, 1, 2, 9)] == [0.5, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("schedule", ["polynomial", "cosine"])
def test_factor_stays_in_range_beyond_the_end_and_for_runs_shorter_than_their_warm_up(schedule: str) -> None:
    config = OptimConfig(schedule=schedule, warmup_steps=100)
    factors = [lr_factor(config, step, 50) for step in range(120)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert lr_factor(config, 10_000, 500) == pytest.approx(0)


def test_groups_carry_the_multipliers_of_their_role() -> None:
    config = OptimConfig(lr=2.5e-4, weight_decay=5e-4, encoder_lr_mult=0.5, head_lr_mult=10.0, head_bias_lr_mult=20.0)
    groups = parameter_groups(roles(), config)
    assert [group["base_lr"] for group in groups] == pytest.approx([1.25e-4, 2.5e-3, 5e-3])
    assert [group["lr"] for group in groups] == [group["base_lr"] for group in groups]
    assert [group["weight_decay"] for group in groups] == [5e-4, 5e-4, 0.0]


def test_roles_without_parameters_make_no_group() -> None:
    assert len(parameter_groups(roles() | {"head_bias": []}, OptimConfig())) == 2


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_optimizer_is_the_one_named_with_its_settings(name: str, kind: type) -> None:
    optimizer = build_optimizer(roles(), OptimConfig(optimizer=name, momentum=0.8, betas=[0.7, 0.99]))
    assert type(optimizer) is kind
    for group in optimizer.param_groups:
        if name == "sgd":
            assert group["momentum"] == 0.8
        else:
            assert group["betas"] == (0.7, 0.99)


def test_set_lr_scales_every_group_from_its_own_base() -> None:
    config = OptimConfig(lr=1.0, head_lr_mult=10.0, head_bias_lr_mult=20.0, power=1.0)
    optimizer = build_optimizer(roles(), config)
    for step in (5, 2):  # not cumulative: an earlier step gives its own rate again
        set_lr(optimizer, config, step, 10)
        factor = 1 - step / 10
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([factor, 10 * factor, 20 * factor])


def test_loaded_optimizer_keeps_momentum_and_takes_the_configured_rates() -> None:
    parameters = roles()
    before = build_optimizer(parameters, OptimConfig(lr=0.1, momentum=0.9, weight_decay=0.1))
    for group in parameters.values():
        group[0].grad = torch.ones(3)
    before.step()
    after = build_optimizer(parameters, OptimConfig(lr=0.5, head_lr_mult=4.0, momentum=0.9, weight_decay=0.2))
    load_optimizer(after, before.state_dict(), "SGD", Path("run.pth"))
    assert [group["base_lr"] for group in after.param_groups] == [0.5, 2.0, 0.5]
    assert [group["weight_decay"] for group in after.param_groups] == [0.2, 0.2, 0.0]
    for group in parameters.values():
        momentum = before.state[group[0]]["momentum_buffer"]
        assert momentum.abs().sum() > 0
        torch.testing.assert_close(after.state[group[0]]["momentum_buffer"], momentum)


def test_state_of_another_optimiser_is_refused() -> None:
    parameters = roles()
    mine = build_optimizer(parameters, OptimConfig(optimizer="adamw"))
    sgd = build_optimizer(parameters, OptimConfig(optimizer="sgd"))
    other_roles = build_optimizer(parameters | {"head": []}, OptimConfig(optimizer="adamw"))
    for other in (sgd, other_roles):
        with pytest.raises(CheckpointError, match=r"run\.pth holds the state of another optimiser"):
            load_optimizer(mine, other.state_dict(), None, Path("run.pth"))


@pytest.mark.parametrize(("steps", "epochs", "expected"), [(70, None, 70), (None, 3, 36), (70, 3, 36), (20, 3, 20)])
def test_length_is_whichever_ends_first(steps: int | None, epochs: int | None, expected: int) -> None:
    assert total_steps(TrainerConfig(max_steps=steps, max_epochs=epochs), labeled=96) == expected


def test_epochs_are_passes_over_the_patches_whatever_the_batches_were() -> None:
    fresh = TrainerConfig(max_steps=None, max_epochs=4, batch_size=8, accumulate=2)
    assert total_steps(fresh, labeled=15) == 4  # 60 patches in 16s
    halved = TrainerConfig(max_steps=None, max_epochs=4, batch_size=1)
    assert total_steps(halved, labeled=15, done=2, drawn=32) == 2 + 28
    assert total_steps(TrainerConfig(max_epochs=1, batch_size=8), labeled=15, done=4, drawn=32) < 4


def test_adam_and_adamw_are_told_apart_by_the_name_saved_with_the_state() -> None:
    adam, adamw = (build_optimizer(roles(), OptimConfig(optimizer=name)) for name in ("adam", "adamw"))
    with pytest.raises(CheckpointError, match=r"run\.pth holds the state of another optimiser"):
        load_optimizer(adamw, adam.state_dict(), optimizer_kind(adam), Path("run.pth"))
    load_optimizer(adamw, adamw.state_dict(), optimizer_kind(adamw), Path("run.pth"))


@pytest.mark.parametrize("kind", ["AdamW", None])
def test_adamw_of_torch_2_6_goes_on(kind: str | None) -> None:
    """Its groups lack the flag by which later versions tell AdamW from Adam, and which they need to step."""
    parameters = roles()
    adamw = build_optimizer(parameters, OptimConfig(optimizer="adamw"))
    state = adamw.state_dict()
    for group in state["param_groups"]:
        group.pop("decoupled_weight_decay", None)
    flags = [group.get("decoupled_weight_decay") for group in adamw.param_groups]
    load_optimizer(adamw, state, kind, Path("run.pth"))
    assert [group.get("decoupled_weight_decay") for group in adamw.param_groups] == flags
    parameters["encoder"][0].grad = torch.ones(3)
    adamw.step()


def one_step(optimizer: torch.optim.Optimizer, gradient: float, skip: bool) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.full_like(parameter, gradient)
    step_unless(torch.tensor(float(skip)), optimizer)


@pytest.mark.parametrize("device_skips", [True, False])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_skipped_step_is_as_if_it_had_not_been(name: str, device_skips: bool, monkeypatch) -> None:
    """The first included, after which there must be no momentum of chance values."""
    monkeypatch.setattr("semiseg.engine.optim.SKIPPING", ("cpu",) if device_skips else ())
    config = OptimConfig(optimizer=name, lr=0.1, momentum=0.9, weight_decay=0.1)
    skipping, plain = build_optimizer(roles(), config), build_optimizer(roles(), config)
    for gradient in (math.nan, 1.0, math.inf, -2.0):
        one_step(skipping, gradient, skip=not math.isfinite(gradient))
        if math.isfinite(gradient):
            one_step(plain, gradient, skip=False)
    mine, theirs = ([p for group in o.param_groups for p in group["params"]] for o in (skipping, plain))
    for a, b in zip(mine, theirs, strict=True):
        assert torch.equal(a, b)
        for key, value in plain.state[b].items():
            assert torch.equal(skipping.state[a][key], value), key


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_steps_are_those_of_the_plain_optimiser(name: str) -> None:
    config = OptimConfig(optimizer=name, lr=0.1, momentum=0.9, weight_decay=0.1)
    mine = build_optimizer(roles(), config)
    parameters = [parameter for group in roles().values() for parameter in group]
    groups = [{"params": [p], "weight_decay": d} for p, d in zip(parameters, (0.1, 0.1, 0.0), strict=True)]
    if name == "sgd":
        plain: torch.optim.Optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, foreach=False)
    else:
        plain = torch.optim.Adam(groups, lr=0.1, foreach=False)
    for gradient in (1.0, -2.0, 0.5):
        one_step(mine, gradient, skip=False)
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, gradient)
        plain.step()
    moved = [p for group in mine.param_groups for p in group["params"]]
    torch.testing.assert_close(moved, parameters)


def test_momentum_of_another_memory_layout_is_laid_out_anew() -> None:
    """Fused kernels walk through memory: after a change of trainer.channels_last they would mix the channels up."""
    config = OptimConfig(lr=0.1, momentum=0.9)
    weight = torch.randn(4, 3, 2, 2)
    before, plain, after = (nn.Parameter(weight.clone()) for _ in range(3))
    after.data = after.data.to(memory_format=torch.channels_last)
    old, same, new = (build_optimizer({"head": [p]}, config) for p in (before, plain, after))
    gradient = torch.randn_like(weight)
    for parameter, optimizer in ((before, old), (plain, same)):
        parameter.grad = gradient.clone()
        optimizer.step()
    after.data.copy_(before.data)
    load_optimizer(new, old.state_dict(), "SGD", Path("x.pth"))
    for parameter, optimizer in ((plain, same), (after, new)):
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
        optimizer.step()
    torch.testing.assert_close(after, plain)
