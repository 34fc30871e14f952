"""The controlled comparison: one network, one data set, one length; only the pseudo-labels differ.

    python benchmarks/methods.py [steps=1500] [seeds=0,1,2] [lists=few,1_8] [jobs=1] [threads=2]

DeepLabV3+ with ResNet-18 from scratch on dubai-landcover, 128-pixel crops, `basic` augmentation, CE, AdamW 1e-3 with
cosine decay, batch 8 (+ 8 unlabelled). It takes hours on a CPU: run it unattended. A finished run leaves a file in
benchmarks/results/methods/ and is not run again; the tables are made from those files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "methods"
RUNS = HERE.parent / "runs" / "benchmark"

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
            yield Job("all", "none", seed, steps)
            yield Job(labels, "V1", seed, steps)
            yield Job(labels, "V2", seed, steps)
    for labels in lists:
        yield from (Job(labels, "V3 global", seed, steps) for seed in seeds)


def run(job: Job, threads: int) -> None:
    """Train in a process of its own, continuing a run that was cut off, and keep its figures."""
    folder = RUNS / "methods" / job.name
    resume = ["resume=true"] if (folder / "checkpoints" / "latest_checkpoint.pth").is_file() else []
    place = [f"output={RUNS.as_posix()}", "experiment_name=methods", f"name={job.name}"]
    command = [sys.executable, "-m", "semiseg", "train", *place, *resume, *job.overrides()]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    print(f"start {job.name}", flush=True)
    done = subprocess.run(command, cwd=HERE.parent, env=environment, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        print(f"FAILED {job.name}: {done.stderr.strip()[-2000:]}", flush=True)
        return
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    RESULTS.mkdir(parents=True, exist_ok=True)
    job.result.write_text(json.dumps(figures(job, summary, folder), indent=1), encoding="utf-8")
    print(f"done {job.name}: val mIoU {summary['best_val_miou']:.4f}", flush=True)


def figures(job: Job, summary: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the tables need of a run, small enough to keep."""
    history: dict[str, list[list[float]]] = {}
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        for name, value in record.items():
            if name.startswith(TRACKED) and record["step"] % (job.steps // 6) == 0:
                history.setdefault(name, []).append([record["step"], round(value, 4)])
    identity = {"labels": job.labels, "method": job.method, "seed": job.seed, "steps": job.steps}
    return identity | {key: summary.get(key) for key in KEPT} | {"overrides": job.overrides(), "history": history}


def load_results(steps: int) -> list[dict[str, Any]]:
    """Every finished run of this length."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    return [row for row in rows if row["steps"] == steps]


def spread(values: list[float]) -> str:
    """Mean and sample standard deviation."""
    return f"{mean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"


def table(rows: list[dict[str, Any]], labels: str) -> list[str]:
    """One list's comparison as Markdown, with the share of the few-to-all gap that each method closes."""

    def of(method: str, which: str) -> list[dict[str, Any]]:
        return [row for row in rows if row["method"] == method and row["labels"] == which]

    groups = [(m, of(m, labels)) for m in METHODS] + [("none, all labels", of("none", "all"))]
    groups = [(name, found) for name, found in groups if found]
    if not groups:
        return []
    floor, ceiling = of("none", labels), of("none", "all")
    classes = list(groups[0][1][0]["class_iou"])
    lines = [f"| {labels} labels | seeds | final val mIoU | best val mIoU | gap closed | ST coverage | ST precision | "
             + " | ".join(classes) + " | s/step |", "|---" * (8 + len(classes)) + "|"]  # fmt: skip
    for name, found in groups:
        final = [row["final_val_miou"] for row in found]
        closed = "-"
        if floor and ceiling:
            low, high = (mean(r["final_val_miou"] for r in side) for side in (floor, ceiling))
            closed = f"{(mean(final) - low) / (high - low):.0%}"
        st = [optional(found, key) for key in ("st_coverage", "st_precision")]
        ious = [spread([row["class_iou"].get(c, 0.0) for row in found]) for c in classes]
        cells = [name, str(len(found)), spread(final), spread([row["best_val_miou"] for row in found]), closed, *st]
        lines.append("| " + " | ".join([*cells, *ious, spread([row["seconds_per_step"] for row in found])]) + " |")
    return lines


def optional(rows: list[dict[str, Any]], key: str) -> str:
    """Spread of a figure that supervised runs do not have."""
    values = [row[key] for row in rows if row.get(key) is not None]
    return spread(values) if values else "-"


def main() -> None:
    """Run what is missing, then print the tables."""
    options = {"steps": "1500", "seeds": "0,1,2", "lists": "few,1_8", "jobs": "1", "threads": str(os.cpu_count())}
    for argument in sys.argv[1:]:
        key, _, value = argument.partition("=")
        if key not in options or not value:
            sys.exit(f"{argument}: write one of {', '.join(f'{k}={v}' for k, v in options.items())}")
        options[key] = value
    steps, lists = int(options["steps"]), options["lists"].split(",")
    seeds = [int(seed) for seed in options["seeds"].split(",")]
    missing = list(dict.fromkeys(job for job in plan(lists, seeds, steps) if not job.result.is_file()))
    print(f"{len(missing)} runs to do", flush=True)
    with ThreadPoolExecutor(int(options["jobs"])) as pool:
        list(pool.map(lambda job: run(job, int(options["threads"])), missing))
    rows = load_results(steps)
    for labels in lists:
        print("\n" + "\n".join(table(rows, labels)))


if __name__ == "__main__":
    main()
