"""What a checkpoint costs: the stall of the training, and the time until the files are on the disk.

    python benchmarks/checkpoint.py [rounds=5] [OVERRIDE ...]

Builds the run that the overrides describe (default: V1 with its ResNet-101), takes a few steps so that the optimisers
have their moments, and saves what the engine saves every `trainer.save_latest_every` steps: latest_checkpoint.pth and
the weights beside it. "waiting" writes it all before the call returns; "beside" is how the engine saves: the call
returns after a copy in memory, and the rest is written while training goes on. The share is that of 100 steps.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import torch

from semiseg.engine.writer import snapshot
from semiseg.run import Run
from step import Repeated, make_run

DEFAULTS = ["model=v1", "model.encoder=resnet101", "model.encoder_weights=null", "optim=sgd_polynomial",
            "tracking=none"]  # fmt: skip
STEPS = 1  # before the first round
MIB = 2**20


def timed(call: Callable[[], object]) -> float:
    """Wall-clock seconds of a call, the device's work included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def steps(run: Run, count: int) -> float:
    """Seconds a step of the engine, on one batch again and again."""
    stream = Repeated(next(run.engine.open_stream({})))

    def loop() -> None:
        for _ in range(count):
            run.engine._train_step(stream)  # type: ignore[arg-type]
            run.engine.step += 1

    return timed(loop) / count


def measure(run: Run, rounds: int) -> dict[str, list[float]]:
    """Seconds of each part, a number a round."""
    engine = run.engine
    names = ("a step", "copy in memory", "stall, waiting", "stall, beside", "on the disk, beside")
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        times["a step"].append(steps(run, 1))
        times["copy in memory"].append(timed(lambda: snapshot(engine.state_dict())))
        begin = time.perf_counter()
        times["stall, beside"].append(timed(lambda: engine.checkpoints.save_latest(engine.state_dict())))
        engine.checkpoints.close()
        times["on the disk, beside"].append(time.perf_counter() - begin)
        times["stall, waiting"].append(timed(lambda: save_and_wait(run)))
    return times


def save_and_wait(run: Run) -> None:
    """As a loop that writes its checkpoints itself."""
    run.engine.checkpoints.save_latest(run.engine.state_dict())
    run.engine.checkpoints.close()


def main() -> None:
    """Print the table."""
    rounds, overrides = 5, []
    for argument in sys.argv[1:]:
        if argument.startswith("rounds="):
            rounds = int(argument.partition("=")[2])
        else:
            overrides.append(argument)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        run = make_run([*DEFAULTS, *overrides], Path(folder))
        run.engine.method.train()
        steps(run, STEPS)
        times = measure(run, rounds)
        files = {path.name: path.stat().st_size / MIB for path in sorted(run.folder.checkpoints.glob("*.pth"))}
        run.folder.close()
    print(f"| part | s, median of {rounds} | fastest | of 100 steps |\n|---|---|---|---|")
    hundred = 100 * statistics.median(times["a step"])
    for name, values in times.items():
        middle = statistics.median(values)
        share = f"{middle / hundred:.2%}" if name.startswith("stall") else ""
        print(f"| {name} | {middle:.3f} | {min(values):.3f} | {share} |")
    print("MiB: " + ", ".join(f"{name} {size:.0f}" for name, size in files.items()))
    print(f"{run.hardware.device.type}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
