"""The controlled comparison: one network, one data set, one length; only the pseudo-labels differ.

    python benchmarks/methods.py [steps=1500] [seeds=0,1,2] [lists=few,1_8] [jobs=1] [threads=2] [report=true]

DeepLabV3+ with ResNet-18 from scratch on dubai-landcover, 128-pixel crops, `basic` augmentation, CE, AdamW 1e-3 with
cosine decay, batch 8 (+ 8 unlabelled). It takes hours on a CPU: run it unattended. A finished run leaves a file in
benchmarks/results/methods/ and is not run again; the tables are made from those files;
`report=true` only prints them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import PROJECT, train
from method_tables import Row, class_table, main_table, time_table
from semiseg.errors import SemisegError

RESULTS = PROJECT / "benchmarks" / "results" / "methods"
RUNS = PROJECT / "runs" / "benchmark"

COMMON = [
    "data=dubai", "model=v3", "model.encoder=resnet18", "model.num_heads=1", "loss=ce", "aug=basic", "optim=adamw",
    "optim.lr=1e-3", "optim.ema_decay=null", "trainer.crop_size=128", "trainer.batch_size=8", "trainer.log_every=25",
    "trainer.early_stop_patience=null", "trainer.save_latest_every=250", "tracking=none",
]  # fmt: skip
# Self-training starts at a sixth of the run, V1's at a third: the recipes' 500 and 1,000 in the same proportion.
METHODS = {
    "none": ["pseudo_label=none"],
    "V1": ["pseudo_label=discriminator", "pseudo_label.start_step={third}"],
    "V2": ["pseudo_label=discriminator_scheduled", "pseudo_label.start_step={sixth}"],
    "V3": ["pseudo_label=softmax", "pseudo_label.start_step={sixth}"],
    "V3 global": ["pseudo_label=softmax_global", "pseudo_label.start_step={sixth}"],
}
KEPT = ["best_val_miou", "final_val_miou", "best_step", "class_iou", "gap", "seconds_per_step", "st_coverage",
        "st_precision", "st_pixels", "st_images", "hardware", "git_commit", "versions", "data_fingerprint"]  # fmt: skip
TRACKED = ("st/coverage", "st/precision", "st/pixels", "val/miou", "val/iou")


@dataclass(frozen=True)
class Job:
    """One training of the comparison."""

    labels: str  # few, 1_8 or all
    method: str
    seed: int
    steps: int

    @property
    def name(self) -> str:
        """Of its run folder and its result file."""
        return f"{self.labels}-{self.method.replace(' ', '_')}-{self.steps}-seed{self.seed}"

    @property
    def result(self) -> Path:
        """The file that says it is done."""
        return RESULTS / f"{self.name}.json"

    def overrides(self) -> list[str]:
        """What distinguishes this run on the command line."""
        shares = {"third": self.steps // 3, "sixth": self.steps // 6}
        chosen = [text.format(**shares) for text in METHODS[self.method]]
        labeled = "null" if self.labels == "all" else f"${{data.root}}/labeled_{self.labels}.txt"
        length = [f"trainer.max_steps={self.steps}", f"trainer.eval_every={self.steps // 6}"]
        return [*COMMON, *chosen, *length, f"data.labeled_list={labeled}", f"seed={self.seed}"]


def plan(lists: list[str], seeds: list[int], steps: int) -> Iterator[Job]:
    """Seed by seed, so that an interrupted comparison holds whole rounds; the ceiling is shared by the lists."""
    for labels in lists:
        for seed in seeds:
            yield Job(labels, "none", seed, steps)
            yield Job(labels, "V3", seed, steps)
            yield Job(labels, "V1", seed, steps)
            yield Job("all", "none", seed, steps)
            yield Job(labels, "V2", seed, steps)
    for labels in lists:
        yield from (Job(labels, "V3 global", seed, steps) for seed in seeds)


def run(job: Job, threads: int) -> bool:
    """Train and keep the figures; False where that failed."""
    folder = RUNS / "methods" / job.name
    print(f"start {job.name}", flush=True)
    try:
        summary = train(folder, job.overrides(), threads)
    except SemisegError as error:
        print(f"FAILED {job.name}: {error}", flush=True)
        return False
    RESULTS.mkdir(parents=True, exist_ok=True)
    job.result.write_text(json.dumps(figures(job, summary, folder), indent=1), encoding="utf-8")
    print(f"done {job.name}: val mIoU {summary['best_val_miou']:.4f}", flush=True)
    return True


def figures(job: Job, summary: Mapping[str, Any], folder: Path) -> Row:
    """What the tables need of a run, small enough to keep."""
    history: dict[str, list[list[float]]] = {}
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["step"] % (job.steps // 6) and record["step"] != job.steps:
            continue
        for name, value in record.items():
            if name.startswith(TRACKED) and value is not None:  # null: not finite
                history.setdefault(name, []).append([record["step"], round(value, 4)])
    identity = {"labels": job.labels, "method": job.method, "seed": job.seed, "steps": job.steps}
    return identity | {key: summary.get(key) for key in KEPT} | {"overrides": job.overrides(), "history": history}


def load_results(steps: int) -> list[Row]:
    """Every finished run of this length, in the order of METHODS."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    return sorted((row for row in rows if row["steps"] == steps), key=lambda row: list(METHODS).index(row["method"]))


def read_options(arguments: list[str]) -> dict[str, str]:
    """The command line over the defaults; ends the program at a word that is none of them."""
    options = {"steps": "1500", "seeds": "0,1,2", "lists": "few,1_8", "jobs": "1", "threads": str(os.cpu_count()),
               "report": "false"}  # fmt: skip
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in options or not value:
            sys.exit(f"{argument}: write one of {', '.join(f'{k}={v}' for k, v in options.items())}")
        options[key] = value
    if int(options["steps"]) < 6:
        sys.exit(f"steps={options['steps']}: give at least 6, one for each evaluation")
    if options["report"] not in ("true", "false"):
        sys.exit(f"report={options['report']}: write report=true or report=false")
    return options


def main() -> None:
    """Run what is missing, print the tables, and exit with 1 where a run failed."""
    options = read_options(sys.argv[1:])
    steps, lists = int(options["steps"]), options["lists"].split(",")
    failed = 0
    if options["report"] == "false":
        seeds = [int(seed) for seed in options["seeds"].split(",")]
        missing = list(dict.fromkeys(job for job in plan(lists, seeds, steps) if not job.result.is_file()))
        print(f"{len(missing)} runs to do", flush=True)
        with ThreadPoolExecutor(int(options["jobs"])) as pool:
            failed = list(pool.map(lambda job: run(job, int(options["threads"])), missing)).count(False)
    rows = load_results(steps)
    for labels in lists:
        for table in (main_table, time_table, class_table):
            print("\n" + "\n".join(table(rows, labels)))
    if failed:
        sys.exit(f"{failed} runs failed: see FAILED above")


if __name__ == "__main__":
    main()
