"""Optimisers with learning rates a role, and schedules as pure functions of the step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from semiseg.engine.settings import OptimConfig, TrainerConfig
from semiseg.errors import CheckpointError

Roles = dict[str, list[nn.Parameter]]
SKIPPING = ("cpu", "cuda")  # devices whose fused kernels heed `found_inf`; those of Metal do not


def parameter_groups(roles: Roles, config: OptimConfig) -> list[dict]:
    """Optimiser groups of the trainable parameters: encoder, head, and head biases without weight decay.

    Each group keeps its rate at factor 1 as `base_lr`, which the schedule scales.
    """
    multipliers = {
        "encoder": config.encoder_lr_mult,
        "head": config.head_lr_mult,
        "head_bias": config.head_bias_lr_mult,
    }
    groups = []
    for role, parameters in roles.items():
        if parameters:
            base_lr = config.lr * multipliers[role]
            decay = 0.0 if role == "head_bias" else config.weight_decay
            groups.append({"params": parameters, "lr": base_lr, "base_lr": base_lr, "weight_decay": decay})
    return groups


def build_optimizer(roles: Roles, config: OptimConfig) -> Optimizer:
    """The optimiser named by `config.optimizer` over the parameters of every role, which are on their device."""
    groups = parameter_groups(roles, config)
    fused = all(parameter.device.type in SKIPPING for group in groups for parameter in group["params"])
    betas = (config.betas[0], config.betas[1])
    if config.optimizer == "adam":
        return Adam(groups, lr=config.lr, betas=betas, fused=fused)
    if config.optimizer == "adamw":
        return AdamW(groups, lr=config.lr, betas=betas, fused=fused)
    optimizer = SGD(groups, lr=config.lr, momentum=config.momentum, fused=fused)
    start_momentum(optimizer)
    return optimizer


def start_momentum(optimizer: Optimizer) -> None:
    """Momentum of zero where SGD has none that fits, which makes the first step the same as without.

    A fused first step would begin with memory of any content, and leave it there when it is skipped. None fits a
    parameter that has taken another width from weights loaded since.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"] if group.get("momentum") else ():
            momentum = optimizer.state[parameter].get("momentum_buffer")
            if momentum is None or momentum.shape != parameter.shape:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def step_unless(skip: Tensor, optimizer: Optimizer) -> None:
    """Move the parameters, or leave them and the optimiser's state as they are where `skip`, 0-d, is 1.0.

    The kernels of fused optimisers read the flag on the device, as they do for a GradScaler; on others the host waits.
    """
    if optimizer.defaults["fused"]:
        optimizer.found_inf = skip  # pyright: ignore[reportAttributeAccessIssue]
        optimizer.step()
    elif not skip.item():
        optimizer.step()


def lr_factor(config: OptimConfig, step: int, total_steps: int) -> float:
    """Factor on the learning rates for the step with number `step` (the first is 0).

    Linear warm-up from 1/warmup_steps to 1; then polynomial `(1 - t)^power` (DeepLab), cosine `(1 + cos(pi t)) / 2`
    or constant, with t the share of the steps after the warm-up that is done.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    done = min(max(done, 0.0), 1.0)
    if config.schedule == "polynomial":
        return (1.0 - done) ** config.power
    if config.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    return 1.0


def set_lr(optimizer: Optimizer, config: OptimConfig, step: int, total_steps: int) -> None:
    """Write the learning rates of this step into the optimiser's groups."""
    factor = lr_factor(config, step, total_steps)
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def optimizer_kind(optimizer: Optimizer) -> str:
    """The name a checkpoint keeps beside an optimiser's state: the states of Adam and AdamW look alike in torch 2.6."""
    return type(optimizer).__name__


def load_optimizer(optimizer: Optimizer, state: dict[str, Any], kind: str | None, path: Path) -> None:
    """Momentum and moments from a checkpoint; rates and decay stay as configured now: they may change on resume.

    `kind` is the `optimizer_kind` saved with the state, None where none was. Raises CheckpointError when `path` holds
    the state of another kind of optimiser.
    """
    mine = optimizer_kind(optimizer)
    if (kind or mine) != mine or _layout(state) != _layout(optimizer.state_dict()):
        raise CheckpointError(
            f"{path} holds the state of another optimiser. Continue with the optim= it was trained with, or start anew "
            "from its weights with restore_from= and a weights file such as best_model.pth."
        )
    configured = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    fused = optimizer.defaults["fused"]  # decides where Adam's step count is put
    optimizer.load_state_dict({**state, "param_groups": [g | {"fused": fused} for g in state["param_groups"]]})
    for group, values in zip(optimizer.param_groups, configured, strict=True):
        group.update(values)
    start_momentum(optimizer)
    _align(optimizer)


def _align(optimizer: Optimizer) -> None:
    """Lay momentum and moments out like their parameters: fused kernels walk through memory, not through indices.

    They differ after a change of `trainer.channels_last`.
    """
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                values[name] = torch.empty_like(parameter).copy_(value)


def _layout(state: dict[str, Any]) -> list[tuple[bool, int]]:
    """Whether each group is one of Adam or AdamW, and its number of parameters."""
    return [("betas" in group, len(group["params"])) for group in state["param_groups"]]


def steps_per_epoch(trainer: TrainerConfig, labeled: int) -> int:
    """Whole batches in a pass over the labelled patches, at least one."""
    return max(1, labeled // (trainer.batch_size * trainer.accumulate))


def total_steps(trainer: TrainerConfig, labeled: int, done: int = 0, drawn: int = 0) -> int:
    """Length of the run: `max_steps`, or `max_epochs` passes over the labelled patches, whichever comes first.

    In the steps that are `done`, be it with batches of another size, `drawn` of them were seen, counting repetitions.
    """
    by_epochs = None
    if trainer.max_epochs is not None:
        by_epochs = done + math.ceil((trainer.max_epochs * labeled - drawn) / (trainer.batch_size * trainer.accumulate))
    return min(n for n in (trainer.max_steps, by_epochs) if n is not None)
