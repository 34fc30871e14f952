"""The real systems with their own networks and recipes at 256 pixels on dubai-landcover.

    python benchmarks/versions.py                     seconds a step and peak memory (any machine)
    python benchmarks/versions.py train=5000 [seeds=0,1,2]   accuracy too, on a GPU

Each system runs in a process of its own, so that its peak memory is its own. Self-training is switched on from the
first step for the timing, because that is the step that most of a run consists of, and few patches validate at its end.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from common import PROJECT, train
from semiseg.errors import SemisegError

SYSTEMS = {
    "lightweight": ["model=lightweight"],
    "lightweight_original": ["model=lightweight_original"],
    "V3, supervised only": ["model=v3", "pseudo_label=none"],
    "V3": ["model=v3"],
    "V1": ["model=v1"],
    "V2": ["model=v2"],
}
COMMON = ["data=dubai", "data.labeled_list=${data.root}/labeled_1_8.txt", "tracking=none", "trainer.max_epochs=null"]
TIMING = ["trainer.eval_every=1000000", "trainer.save_latest_every=1000000", "trainer.log_every=1",
          "pseudo_label.start_step=0", "trainer.early_stop_patience=null",
          "data.val_list=null", "data.val_split=0.02"]  # fmt: skip


def timing(steps: int, threads: int) -> None:
    """Seconds a step with 8 labelled (and 8 unlabelled) patches of 256 pixels, warm-up steps left out."""
    print("| system | parameters | s/step | peak memory, MiB | hardware |\n|---|---|---|---|---|", flush=True)
    for label, overrides in SYSTEMS.items():
        with tempfile.TemporaryDirectory() as folder:
            name = label.replace(", ", "-").replace(" ", "_")
            run = Path(folder) / "semiseg" / name
            summary = train(run, [*COMMON, *TIMING, *overrides, f"trainer.max_steps={steps}"], threads)
            seconds = per_step(run / "metrics.jsonl")
        row = (label, f"{summary['parameters']:,}", f"{seconds:.2f}", f"{summary['peak_memory_mib']:,.0f}")
        print(f"| {' | '.join(row)} | {summary['hardware']} |", flush=True)


def per_step(path: Path) -> float:
    """Median seconds of the steps of a run logged every step; the first warms up and is left out."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    times = [record["seconds_per_step"] for record in records if "seconds_per_step" in record]
    return statistics.median(times[1:])


def accuracy(steps: int, seeds: list[int], threads: int) -> None:
    """Val mIoU and self-training figures of runs of the given length; finished runs are kept, and others continued."""
    output = PROJECT / "runs" / "benchmark" / "versions" / "semiseg"
    print("| system | seed | best val mIoU | final val mIoU | ST pixels | ST coverage | ST precision |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for seed in seeds:
        for label, overrides in SYSTEMS.items():
            name = f"{label.replace(', ', '-').replace(' ', '_')}-{steps}-seed{seed}"
            settings = [*COMMON, *overrides, f"trainer.max_steps={steps}", f"seed={seed}", "trainer.eval_every=500"]
            summary = train(output / name, settings, threads)
            keys = ("best_val_miou", "final_val_miou", "st_pixels", "st_coverage", "st_precision")
            cells = ["-" if summary[key] is None else f"{summary[key]:.4g}" for key in keys]
            print(f"| {label} | {seed} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Timing by default, accuracy with `train=STEPS`."""
    options = {"train": "", "steps": "6", "seeds": "0", "threads": str(os.cpu_count())}
    for argument in sys.argv[1:]:
        key, _, value = argument.partition("=")
        if key not in options:
            sys.exit(f"{argument}: write one of {', '.join(options)} as KEY=VALUE")
        options[key] = value
    threads = int(options["threads"])
    if int(options["steps"]) < 2:
        sys.exit(f"steps={options['steps']}: give at least 2, of which the first warms up")
    try:
        if options["train"]:
            accuracy(int(options["train"]), [int(s) for s in options["seeds"].split(",")], threads)
        else:
            timing(int(options["steps"]), threads)
    except SemisegError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
