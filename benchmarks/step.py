"""Seconds a training step: the engine against a bare PyTorch loop doing the same work, alternating in one process.

    python benchmarks/step.py [rounds=10] [steps=10] [OVERRIDE ...]

Both train their own copy of one network, from the same start, on one prepared batch: labelled forward and loss, teacher
forward and threshold, unlabelled forward and loss, backward, clipping, optimiser step, average. What the engine adds is
the schedule, the named losses, the audit of the pseudo labels, the meter, and logging every 10 steps to the metrics
file, MLflow and the console. It should stay within 5 %. `pseudo_label=none` measures supervised training.
"""

from __future__ import annotations

import copy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from common import DUBAI
from semiseg.cli import run_name
from semiseg.config import conf_dir
from semiseg.console import PlainConsole
from semiseg.contracts import Batch
from semiseg.engine.optim import build_optimizer
from semiseg.run import Run
from semiseg.run_folder import RunFolder

SMALL = ["data=dubai", f"data.root={DUBAI}", "model.encoder=resnet18", "trainer.crop_size=128", "trainer.batch_size=8",
         "aug=basic", "pseudo_label.start_step=0", "trainer.eval_every=1000000"]  # fmt: skip


class Repeated:
    """One batch again and again in place of the data stream, so that only the loops differ."""

    skipped = 0

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __next__(self) -> Batch:
        return self.batch


def make_run(overrides: list[str], folder: Path) -> Run:
    """A run as `train.py` builds it, logging every 10 steps to a file, MLflow and a console."""
    OmegaConf.register_new_resolver("run_name", run_name, use_cache=True, replace=True)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("train", overrides=[f"output={folder.as_posix()}", *SMALL, *overrides])
    run_folder = RunFolder(folder / "run")
    run_folder.open(resume=False)
    run = Run(config, run_folder, PlainConsole(stream=StringIO()), {})
    run.tracker.start("step", {}, run_dir=folder)
    return run


def engine_loop(run: Run, batch: Batch) -> Callable[[int], None]:
    """`steps` iterations of the engine's own loop body."""
    engine, stream = run.engine, Repeated(batch)
    engine.method.train()
    run.recorder.start(0, engine.total_steps)

    def loop(steps: int) -> None:
        for _ in range(steps):
            engine._train_step(stream)  # type: ignore[arg-type]
            engine.step += 1
            if engine.step % engine.trainer.log_every == 0:
                engine._log(stream)  # type: ignore[arg-type]

    return loop


def bare_loop(run: Run, batch: Batch) -> Callable[[int], None]:
    """The same forward, backward and step as a script would write them."""
    student, loss = copy.deepcopy(run.method.student).train(), run.method.loss
    thresholds: torch.Tensor = dict(run.method.labeler.named_buffers()).get("thresholds", torch.zeros(0))
    optimizer = build_optimizer(student.parameter_roles(), run.optim)
    decay = run.optim.ema_decay
    average = (
        None if decay is None else AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    )

    def loop(steps: int) -> None:
        for _ in range(steps):
            total, _ = loss(student(batch.image), batch.mask)
            if batch.unlabeled is not None:
                student.eval()
                with torch.no_grad():
                    confidence, target = student(batch.unlabeled).softmax(2).mean(0).max(1)
                student.train()
                target = target.masked_fill(confidence <= thresholds[target], 255)
                total = total + loss(student(batch.unlabeled), target)[0]
            total.backward()
            if run.optim.grad_clip is not None:
                nn.utils.clip_grad_norm_(student.parameters(), run.optim.grad_clip)
            optimizer.step()
            optimizer.zero_grad()
            if average is not None:
                average.update_parameters(student)

    return loop


def seconds(loop: Callable[[int], None], steps: int, device: torch.device) -> float:
    """Wall-clock seconds a step."""
    begin = time.perf_counter()
    loop(steps)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - begin) / steps


def main() -> None:
    """Alternate the two and print the medians and their ratio."""
    counts = {"rounds": 10, "steps": 10}
    overrides = []
    for argument in sys.argv[1:]:
        key, _, value = argument.partition("=")
        if key in counts:
            counts[key] = int(value)
        else:
            overrides.append(argument)
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(overrides, Path(folder))
        batch = next(run.engine.open_stream({}))
        device = run.hardware.device
        loops = {"engine": engine_loop(run, batch), "bare": bare_loop(run, batch)}
        times: dict[str, list[float]] = {name: [] for name in loops}
        with redirect_stdout(StringIO()):
            for round_number in range(counts["rounds"] + 1):
                for name in list(loops) if round_number % 2 else list(loops)[::-1]:
                    measured = seconds(loops[name], counts["steps"], device)
                    if round_number:  # the first warms up
                        times[name].append(measured)
        run.tracker.finish("FINISHED")
    ratios = [engine / bare for engine, bare in zip(times["engine"], times["bare"], strict=True)]
    print(f"| loop | s/step, median of {counts['rounds']} rounds of {counts['steps']} steps | fastest |\n|---|---|---|")
    for name, values in times.items():
        print(f"| {name} | {statistics.median(values):.4f} | {min(values):.4f} |")
    print(f"engine / bare: {statistics.median(ratios):.3f} (median of the rounds), {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
