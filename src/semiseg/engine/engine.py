"""The only training loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from semiseg.contracts import Batch
from semiseg.data.batches import BatchStream
from semiseg.data.stream import Pool
from semiseg.engine import checkpoint as files
from semiseg.engine.checkpoint import CheckpointFolder
from semiseg.engine.device import random_states, set_random_states
from semiseg.engine.evaluator import Evaluation
from semiseg.engine.meter import Meter
from semiseg.engine.optim import load_optimizer, optimizer_kind, set_lr, total_steps
from semiseg.engine.recorder import Recorder
from semiseg.engine.settings import OptimConfig, TrainerConfig
from semiseg.errors import ConfigError, SemisegError
from semiseg.methods import SemiSupervised


class Engine:
    """Trains a method.

    while step < total_steps and nothing says stop:
        learning rates of this step
        `accumulate` times: batch -> method -> named losses, each backward
        every optimiser that got a loss: clip, step        (after all backward passes)
        average of the weights
        when due: log, evaluate, save

    Metrics stay on the device between log steps: nothing but an evaluation or a save waits for it in between. fp16 is
    the one exception: its GradScaler reads a flag each step for every optimiser. bf16 and fp32 need no scaler.
    """

    def __init__(
        self,
        method: SemiSupervised,
        optimizers: dict[str, Optimizer],
        optim: dict[str, OptimConfig],
        trainer: TrainerConfig,
        device: torch.device,
        dtype: torch.dtype,
        steps_per_epoch: int,
        open_stream: Callable[[dict[Pool, int]], BatchStream],
        evaluate: Callable[[nn.Module], Evaluation],
        checkpoints: CheckpointFolder,
        recorder: Recorder,
        config: dict[str, Any],
    ) -> None:
        self.method, self.optimizers, self.optim, self.trainer = method, optimizers, optim, trainer
        self.device, self.dtype = device, dtype
        self.open_stream, self.evaluate = open_stream, evaluate
        self.checkpoints, self.recorder, self.config = checkpoints, recorder, config
        self.total_steps = total_steps(trainer, steps_per_epoch)
        self.eval_every = trainer.eval_every or steps_per_epoch
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.meter = Meter()
        self.step = 0  # finished steps
        self.position: dict[Pool, int] = {}  # samples drawn of each pool
        self.best_miou, self.best_step, self.since_best = -math.inf, 0, 0
        self.evaluated_at = -1

    def fit(self) -> str:
        """Train to the end; "finished" or "stopped early"."""
        self.method.train()
        stream = self.open_stream(self.position)
        self.recorder.start(self.step, self.total_steps)
        while self.step < self.total_steps and not self._out_of_patience():
            self._train_step(stream)
            self.step += 1
            self._when_due(stream)
        self._finish(stream)
        return "finished" if self.step >= self.total_steps else "stopped early"

    def _train_step(self, stream: BatchStream) -> None:
        for name, optimizer in self.optimizers.items():
            set_lr(optimizer, self.optim[name], self.step, self.total_steps)
        moved: set[str] = set()
        for _ in range(self.trainer.accumulate):
            moved |= self._backward(next(stream))
        for name, optimizer in self.optimizers.items():
            if name in moved:
                self._move(optimizer, self.optim[name])
        self.scaler.update()
        if self.method.ema is not None:
            self.method.ema.update(self.method.student)

    def _backward(self, batch: Batch) -> set[str]:
        # No cache: before torch 2.11 the student would reuse casts of the teacher's no_grad pass and lose its gradient.
        with torch.autocast(self.device.type, self.dtype, self.dtype != torch.float32, cache_enabled=False):
            output = self.method(batch, self.step)
        for loss in output.losses.values():
            self.scaler.scale(loss / self.trainer.accumulate).backward()
        self.meter.update(output)
        return set(output.losses)

    def _move(self, optimizer: Optimizer, config: OptimConfig) -> None:
        if config.grad_clip is not None:
            self.scaler.unscale_(optimizer)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, config.grad_clip)
        self.scaler.step(optimizer)
        optimizer.zero_grad(set_to_none=True)

    def _when_due(self, stream: BatchStream) -> None:
        trainer, last = self.trainer, self.step == self.total_steps
        if self.step % trainer.log_every == 0 or last:
            self._log(stream)
        if self.step % self.eval_every == 0 or last:
            self._evaluate()
        latest, periodic = self.step % trainer.save_latest_every == 0, self.step % trainer.save_every == 0
        if latest or periodic or last or self._out_of_patience():
            self._save(stream, periodic)

    def _log(self, stream: BatchStream) -> None:
        self._check_finite()
        averages, counts = self.meter.read()
        rates = {f"lr/{name}": o.param_groups[0]["lr"] for name, o in self.optimizers.items()}
        self.recorder.log(self.step, averages | rates, counts, stream.skipped)

    def _check_finite(self) -> None:
        bad = [name for name, value in self.meter.averages().items() if is_loss(name) and not math.isfinite(value)]
        if bad:
            self.recorder.not_finite(self.step, bad)
            raise SemisegError(
                f"{', '.join(bad)} is not finite at step {self.step}. Lower optim.lr, set optim.grad_clip=10 or "
                "trainer.precision=fp32, and continue from an earlier checkpoint with restore_from=PATH."
            )

    def _evaluate(self) -> None:
        with self.recorder.paused():
            result = self.evaluate(self.method.evaluated)
        self.evaluated_at = self.step
        # The first counts even as NaN, where no class that counts occurs: the run has weights of record.
        previous = self.best_miou
        is_best = not self.best_step or math.isnan(previous) or result.val.miou > previous
        if is_best:
            self.best_miou, self.best_step, self.since_best = result.val.miou, self.step, 0
            self.checkpoints.save_best()
        else:
            self.since_best += 1
        self.recorder.evaluation(self.step, result, previous, is_best, self.checkpoints.best)

    def _out_of_patience(self) -> bool:
        patience = self.trainer.early_stop_patience
        return patience is not None and self.since_best >= patience

    def _save(self, stream: BatchStream, periodic: bool) -> None:
        self._check_finite()  # weights that are NaN must not replace the checkpoint before
        self.position = dict(stream.position)
        with self.recorder.paused():
            self.recorder.flush()
            state = self.state_dict()
            self.checkpoints.save_latest(state)
            if periodic:
                self.checkpoints.save_periodic(state, self.step)

    def _finish(self, stream: BatchStream) -> None:
        if self.evaluated_at != self.step:
            self._evaluate()
        self.checkpoints.save_final()
        stream.close()

    def state_dict(self) -> dict[str, Any]:
        """A full checkpoint under the guide's keys; `iteration` counts finished steps."""
        method = self.method
        discriminator = method.discriminator
        student, adversary = self.optimizers["student"], self.optimizers.get("discriminator")
        return {
            "format": files.FORMAT,
            "iteration": self.step,
            "total_steps": self.total_steps,
            "model_state": method.student.state_dict(),
            "model_D_state": None if discriminator is None else discriminator.state_dict(),
            "ema_state": None if method.ema is None else method.ema.state_dict(),
            "labeler_state": method.labeler_state(),
            "optimizer_state": student.state_dict(),
            "optimizer_D_state": None if adversary is None else adversary.state_dict(),
            "optimizer_kinds": {name: optimizer_kind(optimizer) for name, optimizer in self.optimizers.items()},
            "scaler_state": self.scaler.state_dict(),
            "best_val_miou": self.best_miou,
            "best_step": self.best_step,
            "evaluations_since_best": self.since_best,
            "evaluated_at": self.evaluated_at,
            "random_states": random_states(),
            "data_position": dict(self.position),
            "meter": self.meter.state_dict(),
            "recorder": self.recorder.state_dict(),
            "config": self.config,
        }

    def load_state_dict(self, state: dict[str, Any], path: Path) -> None:
        """Continue from a full checkpoint; `path` is named in errors. Length and batch size may differ from it.

        Raises CheckpointError when it belongs to another model, optimiser or program.
        """
        files.check_keys(state, self.state_dict().keys() - {"optimizer_kinds"}, path)  # older files lack it
        if state["iteration"] > self.total_steps:
            raise ConfigError(
                f"{path} has {state['iteration']} iterations behind it, but the run is to end at {self.total_steps}: "
                "give a larger trainer.max_steps or trainer.max_epochs."
            )
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
        self.scaler.load_state_dict(state["scaler_state"])
        self.step, self.position = state["iteration"], dict(state["data_position"])
        self.best_miou, self.best_step = state["best_val_miou"], state["best_step"]
        self.since_best, self.evaluated_at = state["evaluations_since_best"], state["evaluated_at"]
        self.meter.load_state_dict(state["meter"], self.device)
        self.recorder.load_state_dict(state["recorder"])
        set_random_states(state["random_states"])

    def start_anew_in_folder(self) -> None:
        """After a restore from another run's folder: its best weights are not in this one, nor is its tracked run."""
        self.best_miou, self.best_step, self.since_best, self.evaluated_at = -math.inf, 0, 0, -1
        self.recorder.forget_run()


def is_loss(name: str) -> bool:
    """Whether a log is one of the losses."""
    return name.startswith("loss/")
