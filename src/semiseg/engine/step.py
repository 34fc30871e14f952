"""One step of the optimisers: forward, backward, move. It holds whatever training moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from semiseg.contracts import Batch, StepOutput
from semiseg.data.batches import BatchStream
from semiseg.engine import checkpoint as files
from semiseg.engine.finite import Guard
from semiseg.engine.memory import release
from semiseg.engine.meter import Meter
from semiseg.engine.optim import load_optimizer, optimizer_kind, set_lr, step_unless
from semiseg.engine.settings import OptimConfig, TrainerConfig
from semiseg.errors import ConfigError
from semiseg.methods import SemiSupervised


class TrainStep:
    """`accumulate` batches forward and backward, then every optimiser that got a loss moves, then the average.

    A step that is not finite moves nothing (see `Guard`). Neither a CUDA device nor a CPU is waited for: the flags of
    the guard and of fp16's GradScaler stay there, and the optimisers' kernels read them.
    """

    def __init__(
        self,
        method: SemiSupervised,
        optimizers: dict[str, Optimizer],
        optim: dict[str, OptimConfig],
        trainer: TrainerConfig,
        device: torch.device,
        dtype: torch.dtype,
        total_steps: int,
    ) -> None:
        self.method, self.optimizers, self.optim, self.trainer = method, optimizers, optim, trainer
        self.device, self.dtype, self.total_steps = device, dtype, total_steps
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.guard = Guard(method, device)
        self.meter = Meter()
        self.moving = False  # whether the optimisers have begun to move
        self._images = 0

    def __call__(self, stream: BatchStream, step: int) -> None:
        """Take the step with this number (the first is 0)."""
        self.moving = False
        self.guard.begin()
        outputs = [self._backward(next(stream), step) for _ in range(self.trainer.accumulate)]
        self.moving = True
        self._move({name for output in outputs for name in output.losses}, step)
        self.meter.update(outputs)
        self._images += sum(output.images for output in outputs)

    def take_images(self) -> int:
        """How many images the student was trained on since this was last asked."""
        images, self._images = self._images, 0
        return images

    def _backward(self, batch: Batch, step: int) -> StepOutput:
        # No cache: before torch 2.11 the student would reuse casts of the teacher's no_grad pass and lose its gradient.
        with torch.autocast(self.device.type, self.dtype, self.dtype != torch.float32, cache_enabled=False):
            output = self.method(batch, step)
        for loss in output.losses.values():
            self.scaler.scale(loss / self.trainer.accumulate).backward()
        self.guard.see(output.losses)
        return output

    def _move(self, with_loss: set[str], step: int) -> None:
        for name, optimizer in self.optimizers.items():
            set_lr(optimizer, self.optim[name], step, self.total_steps)
        moving = {name: optimizer for name, optimizer in self.optimizers.items() if name in with_loss}
        norms = [self._clip(optimizer, self.optim[name]) for name, optimizer in moving.items()]
        skip = self.guard.judge(norms, self.scaler.scale(torch.ones((), device=self.device)))
        for optimizer in moving.values():
            step_unless(skip, optimizer)
            optimizer.zero_grad(set_to_none=True)
        self.scaler.update()
        if self.method.ema is not None:
            self.method.ema.update(self.method.student, 1.0 - skip)

    def _clip(self, optimizer: Optimizer, config: OptimConfig) -> Tensor:
        """Norm of the gradients, after they are unscaled and before they are clipped as the configuration says."""
        self.scaler.unscale_(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if config.grad_clip is not None:
            return nn.utils.clip_grad_norm_(parameters, config.grad_clip)
        return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])

    def undo(self) -> None:
        """Back to before a step that failed before anything moved."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        self.guard.undo()

    def fits(self, batch: Batch, step: int) -> bool:
        """Whether a batch goes forward and backward in the memory there is."""
        try:
            self._backward(batch, step)
        except (RuntimeError, ValueError, ConfigError) as error:  # the last two: too few images for a BatchNorm
            release(error, self.device)
            return False
        finally:
            self.undo()
        return True

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, under the guide's keys."""
        method, discriminator = self.method, self.method.discriminator
        student, adversary = self.optimizers["student"], self.optimizers.get("discriminator")
        return {
            "model_state": method.student.state_dict(),
            "model_D_state": None if discriminator is None else discriminator.state_dict(),
            "ema_state": None if method.ema is None else method.ema.state_dict(),
            "labeler_state": method.labeler_state(),
            "optimizer_state": student.state_dict(),
            "optimizer_D_state": None if adversary is None else adversary.state_dict(),
            "optimizer_kinds": {name: optimizer_kind(optimizer) for name, optimizer in self.optimizers.items()},
            "scaler_state": self.scaler.state_dict(),
            "meter": self.meter.state_dict(),
            "bad_steps": self.guard.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], path: Path) -> None:
        """Counterpart of `state_dict`. Raises CheckpointError when it belongs to another model or optimiser."""
        method = self.method
        files.restore(method.student, state["model_state"], path, "model")
        if method.discriminator is not None:
            files.restore(method.discriminator, state.get("model_D_state"), path, "discriminator")
        if method.ema is not None:
            files.restore(method.ema, state.get("ema_state"), path, "EMA")
        method.labeler.load_state_dict(state["labeler_state"], strict=False)
        kinds = state.get("optimizer_kinds", {})
        for name, key in (("student", "optimizer_state"), ("discriminator", "optimizer_D_state")):
            if name in self.optimizers:
                load_optimizer(self.optimizers[name], state[key], kinds.get(name), path)
        if state["scaler_state"]:  # empty of a run in bf16 or fp32, which may go on in fp16
            self.scaler.load_state_dict(state["scaler_state"])
        self.meter.load_state_dict(state["meter"], self.device)
        self.guard.load_state_dict(state.get("bad_steps", {}))
