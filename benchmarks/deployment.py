"""The efficiency frontier: what every system and every way of shrinking one costs, and what accuracy is left.

    python benchmarks/deployment.py [steps=5000] [small=5000] [crop=256] [batch=8] [labels=1_8] [seed=0] [threads=2]
                                    [systems=V1,V3,lightweight,...]

Trains V1, V2, V3, the lightweight networks, a distilled one (taught by that V3) and a pruned one (cut from that
lightweight network, fine-tuned for half as long) on dubai-landcover, each in a process of its own; a finished run is
kept and an interrupted one continued. `small` is the length of the lightweight ones, which learn more in the time that
a large network takes for one step. Then size, latency, memory and mIoU of all of them and of the INT8 file are
measured on the same validation patches in one process, in turns, so that another load of the machine slows all of
them. Prints a table in Markdown, and writes docs/images/deployment.png and benchmarks/results/deployment.json.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from common import PROJECT, train
from frontier import draw_frontier, frontier_table
from semiseg.builder import build_bundle
from semiseg.errors import SemisegError
from semiseg.evaluation.subject import Subject
from semiseg.export.costs import machine
from semiseg.export.files import Exported, Exporter
from semiseg.export.patches import check_batches, read_images, spread
from semiseg.export.results import Row, cost_rows, score_rows, size_rows
from semiseg.trained import Trained, load_trained

CPU = torch.device("cpu")
COMMON = ["data=dubai", "tracking=none", "trainer.max_epochs=null", "trainer.early_stop_patience=null",
          "trainer.log_every=25"]  # fmt: skip
# One optimiser for all that start from random weights: the recipes' SGD is made for pretrained ones.
FROM_RANDOM = ["optim=adamw", "optim.lr=1e-3", "optim.ema_decay=null"]
SYSTEMS = {
    "V1": ["model=v1"],
    "V3": ["model=v3"],
    "lightweight_original": ["model=lightweight_original"],
    "lightweight": ["model=lightweight"],
    "distilled": ["experiment=distil", "pseudo_label.teacher_run={V3}"],
    "pruned": ["experiment=prune", "model.run={lightweight}"],
    "V2": ["model=v2"],  # last: of the same network as V1, which costs the most time
}
LARGE = ("V1", "V2", "V3")
DEFAULTS = {"steps": "5000", "small": "5000", "crop": "256", "batch": "8", "labels": "1_8", "seed": "0",
            "threads": str(os.cpu_count()), "systems": ",".join(SYSTEMS)}  # fmt: skip
CALIBRATION, CHECKED = 64, 4  # patches


def train_all(options: Mapping[str, str], output: Path) -> dict[str, Path]:
    """The run folder of each system."""
    runs: dict[str, Path] = {}
    wanted = options["systems"].split(",")
    for name in (each for each in SYSTEMS if each in wanted):  # those that others are made from come first
        overrides, steps = SYSTEMS[name], steps_of(name, options)
        chosen = [each.format(**{k: v.as_posix() for k, v in runs.items()}) for each in overrides]
        runs[name] = output / f"{name}-{steps}-{options['crop']}-seed{options['seed']}"
        length = [f"trainer.max_steps={steps}", f"trainer.eval_every={steps}"]  # the last weights count
        # Self-training starts after a sixth of the run, as in the comparison of the methods.
        start = [f"pseudo_label.start_step={steps // 6}"] if name in (*LARGE, "distilled") else []
        start += [] if name == "pruned" else FROM_RANDOM
        given = [f"data.labeled_list=${{data.root}}/labeled_{options['labels']}.txt", f"seed={options['seed']}",
                 f"trainer.crop_size={options['crop']}", f"trainer.batch_size={options['batch']}"]  # fmt: skip
        print(f"{name}: {steps} steps", flush=True)
        train(runs[name], [*COMMON, *given, *length, *start, *chosen], int(options["threads"]))
    return runs


def steps_of(name: str, options: Mapping[str, str]) -> int:
    """The length of a training; to fine-tune a trained network, half of it."""
    steps = int(options["steps" if name in LARGE else "small"])
    return max(1, steps // 2) if name == "pruned" else steps


def measure(runs: Mapping[str, Path], exported: Path) -> tuple[list[Row], dict[str, Any]]:
    """A row a system, INT8 of the lightweight network included, and the conditions."""
    trained = {name: load_trained(folder, CPU) for name, folder in runs.items()}
    first = trained["lightweight"]
    bundle = build_bundle(first.config)
    subject = Subject(bundle, bundle.pools.val, (), [])
    images = read_images(bundle, spread(subject.patches, CHECKED))
    calibration = read_images(bundle, spread(bundle.pools.train, CALIBRATION))
    exported.mkdir(parents=True, exist_ok=True)
    (int8,) = Exporter(first, exported, check_batches(images), calibration).export(["int8"])
    systems = [as_exported(name, each) for name, each in trained.items()]
    systems.append(Exported("lightweight INT8", int8.path, int8.open))
    before = machine()
    costs = cost_rows(systems, images)
    scores = score_rows(systems, subject, 16, lambda count: None)
    parameters = [sum(p.numel() for p in each.network.parameters()) for each in trained.values()]
    counts = [*parameters, parameters[list(trained).index("lightweight")]]
    rows = [
        {"parameters": count, **size, **cost, **score}
        for count, size, cost, score in zip(counts, size_rows(systems), costs, scores, strict=True)
    ]
    patches = {"validation_patches": len(subject.patches), "calibration_patches": len(calibration)}
    return rows, {"machine_before": before, "machine_after": machine(), **patches}


def as_exported(name: str, trained: Trained) -> Exported:
    """A run beside files: it is opened as it is."""
    return Exported(name, trained.weights, lambda: trained)


def read_options(arguments: Sequence[str]) -> dict[str, str]:
    """The command line over the defaults; ends the program at a word that is none of them."""
    options = dict(DEFAULTS)
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in options or not value:
            sys.exit(f"{argument}: write one of {', '.join(f'{k}={v}' for k, v in options.items())}")
        options[key] = value
    named = options["systems"].split(",")
    if not {"V3", "lightweight"} <= set(named) <= set(SYSTEMS):
        sys.exit(f"systems={options['systems']}: name V3 and lightweight, and others of {', '.join(SYSTEMS)}")
    return options


def main() -> None:
    """Train what is missing, measure everything, print and draw."""
    options = read_options(sys.argv[1:])
    output = PROJECT / "runs" / "benchmark" / "deployment"
    try:
        rows, conditions = measure(train_all(options, output), output / "exported")
    except SemisegError as error:
        sys.exit(str(error))
    results = PROJECT / "benchmarks" / "results" / "deployment.json"
    kept = {"options": options, **conditions, "systems": [row | {"file": row["file"].name} for row in rows]}
    results.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    draw_frontier(rows, PROJECT / "docs" / "images" / "deployment.png")
    print(frontier_table(rows))
    print(f"\n{options} {conditions}")


if __name__ == "__main__":
    main()
