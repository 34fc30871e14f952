"""Closed settings of the loop and of how the networks move."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from semiseg.errors import ConfigError
from semiseg.schema import check_folder_name, shown

PRECISIONS = ("auto", "bf16", "fp16", "fp32")
DEVICES = ("auto", "cuda", "mps", "cpu")
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("polynomial", "cosine", "constant")
MOST = {  # beyond these a step would fill the memory or take days, or the processes the machine: a slip of the finger
    "batch_size": 65_536,
    "unlabeled_batch_size": 65_536,
    "eval_batch_size": 65_536,
    "crop_size": 16_384,
    "accumulate": 65_536,
    "num_workers": 256,
}


def one_of(where: str, value: Any, valid: tuple[str, ...]) -> None:
    """Raises ConfigError unless `value` is one of the valid words."""
    if value not in valid:
        raise ConfigError(f"{where} is {shown(value)}; it must be one of {', '.join(valid)}.")


def check_device(where: str, name: str) -> None:
    """Raises ConfigError for what is no device, or a numbered one that is no GPU of CUDA."""
    device, colon, number = name.partition(":")
    one_of(where, device, DEVICES)
    if colon and not (device == "cuda" and number.isdecimal()):
        raise ConfigError(f"{where} is {shown(name)}; a single GPU of several is cuda:0, cuda:1, ...")


def at_least(where: str, value: float | None, lowest: float, optional: bool = False) -> None:
    """Raises ConfigError for a number below `lowest`, and for null where it is not optional."""
    if value is None and optional:
        return
    if value is None or value < lowest:
        raise ConfigError(f"{where} is {'null' if value is None else value}; it must be {lowest:g} or more.")


def at_most(where: str, value: float | None, highest: float) -> None:
    """Raises ConfigError for a number above `highest`; null passes."""
    if value is not None and value > highest:
        raise ConfigError(f"{where} is {value}; it must be {highest:,} or less.")


@dataclass
class RunConfig:
    """What stands outside every group: the run's seed, name and folder, and what it continues."""

    seed: int = 0
    name: str = "run"
    experiment_name: str = "semiseg"
    output: str = "runs"
    resume: bool = False
    restore_from: str | None = None
    reproduce: str | None = None

    def __post_init__(self) -> None:
        at_least("seed", self.seed, 0)
        check_folder_name("name", self.name)
        check_folder_name("experiment_name", self.experiment_name)


SMALLEST_CROP = 32  # pixels


@dataclass
class TrainerConfig:
    """The loop (`trainer.*`)."""

    max_steps: int | None = None
    max_epochs: int | None = None
    batch_size: int = 8
    unlabeled_batch_size: int = 8
    crop_size: int = 256
    accumulate: int = 1
    eval_every: int | None = None
    eval_batch_size: int = 16
    save_every: int = 5000
    save_latest_every: int = 100
    keep_last: int | None = None
    log_every: int = 10
    early_stop_patience: int | None = None
    precision: str = "auto"
    device: str = "auto"
    channels_last: bool = True
    num_workers: int | None = None
    deterministic: bool = False
    max_bad_steps: int = 10
    auto_batch: bool = False

    def __post_init__(self) -> None:
        one_of("trainer.precision", self.precision, PRECISIONS)
        check_device("trainer.device", self.device)
        if self.max_steps is None and self.max_epochs is None:
            raise ConfigError("trainer.max_steps and trainer.max_epochs are both null; give one of them a number.")
        for name in ("max_steps", "max_epochs", "eval_every", "early_stop_patience", "keep_last"):
            at_least(f"trainer.{name}", getattr(self, name), 1, optional=True)
        for name in ("batch_size", "unlabeled_batch_size", "accumulate", "eval_batch_size"):
            at_least(f"trainer.{name}", getattr(self, name), 1)
        for name in ("save_every", "save_latest_every", "log_every", "max_bad_steps"):
            at_least(f"trainer.{name}", getattr(self, name), 1)
        at_least("trainer.crop_size", self.crop_size, SMALLEST_CROP)
        at_least("trainer.num_workers", self.num_workers, 0, optional=True)
        for name, most in MOST.items():
            at_most(f"trainer.{name}", getattr(self, name), most)


@dataclass
class OptimConfig:
    """One optimiser and its schedule (`optim.*`, and `pseudo_label.optim.*` for a discriminator)."""

    optimizer: str = "sgd"
    lr: float = 2.5e-4
    momentum: float = 0.9
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    weight_decay: float = 0.0
    encoder_lr_mult: float = 1.0
    head_lr_mult: float = 1.0
    head_bias_lr_mult: float = 1.0
    schedule: str = "polynomial"
    power: float = 0.9
    warmup_steps: int = 0
    grad_clip: float | None = None
    ema_decay: float | None = None

    def __post_init__(self) -> None:
        one_of("optim.optimizer", self.optimizer, OPTIMIZERS)
        one_of("optim.schedule", self.schedule, SCHEDULES)
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, float | int):
                at_least(f"optim.{f.name}", value, 0)
        if self.momentum >= 1:
            raise ConfigError(f"optim.momentum is {self.momentum}; it must be below 1, such as 0.9.")
        if self.grad_clip == 0:
            raise ConfigError("optim.grad_clip is 0, which would stop every step; give a norm such as 10, or null.")
        if self.ema_decay is not None and self.ema_decay >= 1:
            raise ConfigError(f"optim.ema_decay is {self.ema_decay}; it must be below 1, such as 0.999.")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"optim.betas is {self.betas}; it must be two numbers in [0, 1), such as [0.9, 0.999].")
