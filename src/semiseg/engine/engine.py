"""The only training loop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from semiseg.data.batches import BatchStream
from semiseg.data.stream import Pool
from semiseg.engine import bad_batch, memory
from semiseg.engine import checkpoint as files
from semiseg.engine.best import BestScore
from semiseg.engine.checkpoint import CheckpointFolder
from semiseg.engine.device import random_states, set_random_states
from semiseg.engine.evaluator import Evaluation
from semiseg.engine.finite import is_loss
from semiseg.engine.optim import steps_per_epoch, total_steps
from semiseg.engine.recorder import Recorder
from semiseg.engine.settings import OptimConfig, TrainerConfig
from semiseg.engine.step import TrainStep
from semiseg.errors import ConfigError, SemisegError
from semiseg.methods import SemiSupervised

LATER_KEYS = {"optimizer_kinds", "bad_steps", "batch", "best_weights", "data"}  # of a checkpoint, which older ones lack


class Engine:
    """Trains a method.

    while step < total_steps and nothing says stop:
        `accumulate` times: batch -> method -> named losses, each backward
        where memory runs out: smaller batches and again, or the end
        learning rates of this step
        every optimiser that got a loss: clip, step        (unless a loss or gradient is not finite)
        average of the weights
        when due: log, evaluate, save

    Metrics stay on the device between log steps: nothing but an evaluation or a save waits for it in between.
    """

    def __init__(
        self,
        method: SemiSupervised,
        optimizers: dict[str, Optimizer],
        optim: dict[str, OptimConfig],
        trainer: TrainerConfig,
        device: torch.device,
        dtype: torch.dtype,
        labeled: int,
        open_stream: Callable[[dict[Pool, int]], BatchStream],
        evaluate: Callable[[nn.Module], Evaluation],
        checkpoints: CheckpointFolder,
        recorder: Recorder,
        config: dict[str, Any],
        stop_requested: Callable[[], bool] = lambda: False,
        data: dict[str, Any] | None = None,
    ) -> None:
        """`labeled` is the number of labelled training patches, of which epochs are made.

        `open_stream` reads the batch sizes in `trainer` at each call: `trainer.auto_batch` changes them there.
        `config` and `data` say what is trained, and on what, to whoever continues a checkpoint.
        """
        self.method, self.optimizers, self.trainer, self.device = method, optimizers, trainer, device
        self.open_stream, self.evaluate = open_stream, evaluate
        self.checkpoints, self.recorder, self.config, self.data = checkpoints, recorder, config, data
        self.stop_requested = stop_requested
        self.labeled, self.total_steps = labeled, total_steps(trainer, labeled)
        self.eval_every = trainer.eval_every or steps_per_epoch(trainer, labeled)
        self.optimization = TrainStep(method, optimizers, optim, trainer, device, dtype, self.total_steps)
        self.guard, self.meter = self.optimization.guard, self.optimization.meter
        self.step = 0  # finished steps
        self.position: dict[Pool, int] = {}  # samples drawn of each pool for them
        self.best = BestScore()
        self.evaluated_at = -1
        self.saved: tuple[Path, int] | None = None  # newest checkpoint and its step

    def fit(self) -> str:
        """Train to the end: "finished", "stopped early", or "interrupted" on request, with a checkpoint to resume.

        Raises SemisegError when too many steps in a row are not finite, or when memory does not suffice.
        """
        self.method.train()
        self.stream = self.open_stream(self.position)
        self.recorder.start(self.step, self.total_steps)
        try:
            return self._loop()
        finally:
            self.stream.close()
            self.checkpoints.close()

    def _loop(self) -> str:
        while self.step < self.total_steps and not self._out_of_patience():
            if self.stop_requested():
                if self.saved != (self.checkpoints.latest, self.step):
                    self._save(self.stream, True, False)
                return "interrupted"
            if self._step_in_memory():
                self.step += 1
                self._when_due(self.stream)
        self._finish()
        return "finished" if self.step >= self.total_steps else "stopped early"

    def _step_in_memory(self) -> bool:
        """One step; False where memory ran out and the loop is to try again with smaller batches."""
        self.position, skipped = dict(self.stream.position), self.stream.skipped
        try:
            self._train_step(self.stream)
        except RuntimeError as error:
            if not memory.is_out_of_memory(error):
                raise
            memory.release(error, self.device)
            if not self._split_batches():
                raise self._out_of_memory() from error
            self._draw_again()
            self.stream.skipped = skipped
            return False
        return True

    def _train_step(self, stream: BatchStream) -> None:
        self.optimization(stream, self.step)

    def _split_batches(self) -> bool:
        """Smaller batches, of which more are accumulated, for the step that did not fit; False where none may be."""
        uses_unlabeled = self.method.labeler.needs_unlabeled
        parts = memory.splitting(self.trainer, uses_unlabeled) if self.trainer.auto_batch else None
        if parts is None or self.optimization.moving:
            return False
        self.optimization.undo()
        memory.split(self.trainer, parts, uses_unlabeled)
        self.recorder.batch_split(self.step, self.trainer)
        return True

    def _draw_again(self) -> None:
        """The samples of the present step once more."""
        self.stream.close()
        self.stream = self.open_stream(self.position)

    def _out_of_memory(self) -> SemisegError:
        size = None
        with suppress(RuntimeError):  # not even the batch fits again
            self._draw_again()
            size = memory.size_that_fits(next(self.stream), partial(self.optimization.fits, step=self.step))
        return memory.out_of_memory(self.step, self.trainer, size, self.saved, self.config)

    def _when_due(self, stream: BatchStream) -> None:
        trainer, last = self.trainer, self.step == self.total_steps
        evaluate = self.step % self.eval_every == 0 or last
        if self.step % trainer.log_every == 0 or evaluate:  # which may end the training
            self._log(stream)
        if evaluate:
            self._evaluate()
        periodic = self.step % trainer.save_every == 0
        latest = self._latest_is_due(periodic) or last or self._out_of_patience()
        if latest or periodic:
            self._save(stream, latest, periodic)

    def _latest_is_due(self, periodic: bool) -> bool:
        """With a numbered one too, so that it is the latest.

        Not while steps are skipped: the checkpoint of before is what to go back to if training does not recover.
        """
        return (periodic or self.step % self.trainer.save_latest_every == 0) and self.guard.read()[1] == 0

    def _log(self, stream: BatchStream) -> None:
        skipped, in_a_row = self.guard.read()
        averages, counts = self.meter.read()
        rates = {f"lr/{name}": o.param_groups[0]["lr"] for name, o in self.optimizers.items()}
        losses = [name for name in self.meter.not_finite if is_loss(name)]
        self.recorder.skipped_steps(self.step, skipped, losses)
        self.recorder.log(self.step, averages | rates, counts, self.optimization.take_images(), stream.skipped)
        if in_a_row >= self.trainer.max_bad_steps:
            self.recorder.not_finite(self.step, losses)
            raise self._diverged(in_a_row, losses)

    def _diverged(self, in_a_row: int, losses: list[str]) -> SemisegError:
        folder, accumulate = self.checkpoints.folder.parent, self.trainer.accumulate
        batch = bad_batch.save(self.open_stream, self.position, self.step, accumulate, folder)
        optim = self.optimization.optim["student"]
        return bad_batch.diverged(self.step, in_a_row, losses, batch, self.saved, optim, self.trainer)

    def measure(self) -> Evaluation:
        """Evaluate the present weights. Raises SemisegError where memory does not suffice."""
        too_large = partial(memory.out_of_memory_in_evaluation, self.step, self.trainer)
        with memory.told_as(too_large, self.device):
            return self.evaluate(self.method.evaluated)

    def _evaluate(self) -> None:
        with self.recorder.paused():
            result = self.measure()
        self.evaluated_at = self.step
        previous = self.best.miou
        is_best = self.best.take(result.val.miou, self.step)
        if is_best:
            self.checkpoints.save_best(self.step)
        best = self.best.weights[1] if self.best.weights else result.val.miou
        self.recorder.evaluation(self.step, result, previous, best, is_best, self.checkpoints.best)

    def _out_of_patience(self) -> bool:
        patience = self.trainer.early_stop_patience
        return patience is not None and self.best.since >= patience

    def _save(self, stream: BatchStream, latest: bool, periodic: bool) -> None:
        self.position = dict(stream.position)
        with self.recorder.paused():
            self.recorder.skipped_patches(stream.skipped)
            self.recorder.flush()
            state = self.state_dict()
            if periodic:
                self.checkpoints.save_periodic(state, self.step)
            if latest:  # last: a run that continues from it must not lack what else belongs to its step
                self.checkpoints.save_latest(state)
                self.saved = (self.checkpoints.latest, self.step)

    def _finish(self) -> None:
        if self.evaluated_at != self.step:
            self._evaluate()
        self.checkpoints.save_final()

    def state_dict(self) -> dict[str, Any]:
        """A full checkpoint under the guide's keys; `iteration` counts finished steps."""
        return {
            "format": files.FORMAT,
            "iteration": self.step,
            "total_steps": self.total_steps,
            **self.optimization.state_dict(),
            **self.best.state_dict(),
            "evaluated_at": self.evaluated_at,
            "random_states": random_states(),
            "data_position": dict(self.position),
            "batch": memory.sizes(self.trainer),
            "recorder": self.recorder.state_dict(),
            "config": self.config,
            "data": self.data,
        }

    def load_state_dict(self, state: dict[str, Any], path: Path) -> None:
        """Continue from a full checkpoint; `path` is named in errors. Length and batch size may differ from it.

        Raises CheckpointError when it belongs to another model, optimiser or program.
        """
        files.check_keys(state, self.state_dict().keys() - LATER_KEYS, path)
        step, position = state["iteration"], dict(state["data_position"])
        total = total_steps(self.trainer, self.labeled, step, position.get("labeled", 0))
        if step > total:
            raise ConfigError(
                f"{path} has {step} iterations behind it, but the run is to end at {total}: "
                "give a larger trainer.max_steps or trainer.max_epochs."
            )
        self.optimization.load_state_dict(state, path)
        memory.take_over(self.trainer, state.get("batch", {}))
        self.step, self.position = step, position
        self.total_steps = self.optimization.total_steps = total
        self.method.labeler.set_length(total)
        self.best.load_state_dict(state)
        self.evaluated_at = state["evaluated_at"]
        self.saved = (path, self.step)
        self.recorder.load_state_dict(state["recorder"])
        set_random_states(state["random_states"])

    def start_anew_in_folder(self) -> None:
        """After a restore from another run's folder: its best weights are not in this one, nor is its tracked run."""
        self.best.weights, self.evaluated_at = None, -1
        self.recorder.forget_run()

    def forget_best_weights(self) -> None:
        """After a resumption without them: the next evaluation, at the latest that at the end, has others written.

        Scores go on to be compared with the best one measured: what is logged, and the patience, are as ever.
        """
        self.best.weights, self.evaluated_at = None, -1
        self.recorder.forget_best()
