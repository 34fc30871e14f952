"""Where a run's numbers go: `metrics.jsonl` first, then the tracker, the console and the summary."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semiseg.console import Console
from semiseg.doctor import Watch
from semiseg.engine.device import peak_memory_mib
from semiseg.engine.evaluator import Evaluation
from semiseg.engine.metrics import metric_values
from semiseg.engine.settings import TrainerConfig
from semiseg.files import write_atomically
from semiseg.pseudo_label.audit import audit_metrics
from semiseg.tracking.base import Tracker
from semiseg.tracking.local import MetricsFile

FIELDS = {  # the guides' names of what the progress line shows
    "loss/ce": "CE",
    "loss/dice": "Dice",
    "loss/focal": "Focal",
    "loss/fm": "FM",
    "loss/distil": "KD",
    "loss/st": "ST",
    "loss/discriminator": "D",
}


@dataclass
class Progress:
    """What the summary is made of, and what a resumed run continues."""

    seconds: float = 0.0  # in training steps, evaluations and saving left out
    timed_steps: int = 0
    images: int | None = 0  # that the networks saw in these steps; None where an older checkpoint does not tell
    skipped_steps: int = 0  # a loss or gradient not finite
    skipped: int = 0  # unreadable patches passed over in training
    unread: int = 0  # and in the last evaluation
    st_sums: dict[str, float] = field(default_factory=dict)  # self-training figures since the last evaluation
    st_counts: dict[str, int] = field(default_factory=dict)  # of how many values each
    st: dict[str, float] = field(default_factory=dict)  # their means over the last evaluation interval that had any
    best: dict[str, Any] = field(default_factory=dict)
    final: dict[str, Any] = field(default_factory=dict)
    run_id: str | None = None  # of the tracker


class Recorder:
    """Turns what the engine hands over into metrics, lines, panels and the summary."""

    def __init__(
        self,
        folder: Path,
        tracker: Tracker,
        console: Console,
        class_names: tuple[str, ...],
        device: torch.device,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """`settings` are dotted config keys, from which the doctor's remedies start."""
        self.folder, self.tracker, self.console = folder, tracker, console
        self.class_names, self.device = class_names, device
        self.metrics = MetricsFile(folder / "metrics.jsonl", console.warning)
        self.progress = Progress()
        self.watch = Watch(class_names, settings or {})
        self.mark = (0, 0.0)  # step and clock at the last log
        self.seen_skipped = 0  # of the present stream's count

    def start(self, step: int, total_steps: int) -> None:
        """Before the first step; metrics of steps after it, from a run that was cut off, are dropped."""
        self.metrics.truncate_after(step)
        self.console.start(total_steps, step, "Training")
        self.mark = (step, time.perf_counter())

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time inside does not count as training."""
        begin = time.perf_counter()
        yield
        step, clock = self.mark
        self.mark = (step, clock + time.perf_counter() - begin)

    def log(self, step: int, averages: dict[str, float], counts: dict[str, Tensor], images: int, skipped: int) -> None:
        """Averages, counts and images since the last log step; `skipped` counts from the start of the stream."""
        before, clock = self.mark
        self.mark = (step, time.perf_counter())
        seconds, steps = self.mark[1] - clock, step - before
        self.progress.seconds += seconds
        self.progress.timed_steps += steps
        if self.progress.images is not None:
            self.progress.images += images
        self.skipped_patches(skipped)
        rate = images / max(seconds, 1e-9)
        st = audit_metrics(counts, self.class_names) if counts else {}
        self._keep_st(st)
        self.watch.log(averages | st)
        speed = {"images_per_s": rate, "seconds_per_step": seconds / max(1, steps)}
        speed["peak_memory_mib"] = peak_memory_mib(self.device)
        unreadable = {"data/skipped": float(self.progress.skipped)} if self.progress.skipped else {}
        not_finite = {"skipped_steps": float(self.progress.skipped_steps)} if self.progress.skipped_steps else {}
        self._write(step, averages | st | speed | unreadable | not_finite)
        self.console.step(step, self._fields(averages, st), rate)

    def _keep_st(self, st: dict[str, float]) -> None:
        for name, value in st.items():
            self.progress.st_sums[name] = self.progress.st_sums.get(name, 0.0) + value
            self.progress.st_counts[name] = self.progress.st_counts.get(name, 0) + 1

    def _fields(self, averages: dict[str, float], st: dict[str, float]) -> dict[str, str]:
        shown = {label: f"{averages[name]:.3f}" for name, label in FIELDS.items() if name in averages}
        if "st/images" in st and "loss/discriminator" in averages:
            shown["ST_cnt"] = f"{st['st/images']:.1f}"
        elif "st/pixels" in st:
            shown["ST_px"] = f"{st['st/pixels']:.0f}"
        return shown

    def evaluation(
        self, step: int, result: Evaluation, previous: float, best: float, is_best: bool, best_path: Path
    ) -> None:
        """Metrics of both sides, the panel, and the per-image matrices of the best so far.

        `previous` is the best score before, `best` that of the weights that are kept now, and `is_best` says whether
        they are these.
        """
        names, progress = self.class_names, self.progress
        self._warn_of_unread(result)
        values = metric_values(result.val, names, "val") | metric_values(result.train, names, "train")
        values["gap"] = result.gap
        self._write(step, values | {"best/val_miou": best})
        self.flush()
        if progress.st_sums:  # precision has fewer values than coverage: it is none where nothing was kept
            progress.st = {name: total / progress.st_counts[name] for name, total in progress.st_sums.items()}
            progress.st_sums, progress.st_counts = {}, {}
        class_iou = {n: float(v) for n, v in zip(names, result.val.iou, strict=True) if not np.isnan(v)}
        row = {"val_miou": result.val.miou, "train_miou": result.train.miou, "gap": result.gap, "class_iou": class_iou}
        row |= {"step": step, "val_miou_all": result.val.miou_all, "st": dict(progress.st)}
        row["absent"] = [names[c] for c in result.val.absent]
        progress.final = row
        if is_best:
            progress.best = row
            self.keep_matrices(result)
        before = previous if np.isfinite(previous) else None
        self.console.evaluation(
            step, result.train.miou, result.val.miou, result.gap, before, is_best, class_iou, best_path
        )
        for finding in self.watch.evaluation(step, values):
            self.console.finding(finding.rule, finding.evidence, finding.remedy)

    def keep_matrices(self, result: Evaluation) -> None:
        """The per-image matrices of the best weights, of which reports make intervals."""
        matrices, sources = result.val_matrices, result.val_sources
        path = self.folder / "confusion_best.npz"
        try:
            write_atomically(path, lambda file: np.savez_compressed(file, val=matrices, source=sources))
        except OSError as error:
            self.console.warning(f"{path} could not be written ({error.strerror}): reports have no intervals of it.")
            with suppress(OSError):  # rather none than those of other weights
                path.unlink(missing_ok=True)

    def skipped_patches(self, count: int) -> None:
        """Unreadable patches passed over since the start of the stream, told at every log step and checkpoint."""
        self.progress.skipped += count - self.seen_skipped
        self.seen_skipped = count

    def skipped_steps(self, step: int, total: int, losses: Sequence[str]) -> None:
        """Steps were skipped since the last log step, where `total`, those of the whole run, has grown."""
        new, self.progress.skipped_steps = total - self.progress.skipped_steps, total
        if new > 0:
            what = ", ".join(losses) or "the gradient"
            self.console.message(f"Steps skipped up to iteration {step}: {new}, {total} in all ({what} not finite)")

    def batch_split(self, step: int, trainer: TrainerConfig) -> None:
        """Memory ran out, and the batches are now as `trainer` says."""
        self.console.warning(
            f"Out of memory at iteration {step}: continuing with trainer.batch_size={trainer.batch_size} "
            f"trainer.unlabeled_batch_size={trainer.unlabeled_batch_size} trainer.accumulate={trainer.accumulate}"
        )

    def not_finite(self, step: int, losses: Sequence[str]) -> None:
        """Keep which losses end the training, before the engine says so; the tracker takes no such numbers."""
        self.metrics.log(dict.fromkeys(losses, float("nan")), step)
        self.watch.not_finite(step, losses)

    def _warn_of_unread(self, result: Evaluation) -> None:
        """Name the evaluation patches that were passed over (data.on_error=skip), once."""
        if result.unread and not self.progress.unread:
            named = ", ".join(result.unread[:5])
            self.console.warning(
                f"{len(result.unread)} patches of the evaluation cannot be read and are left out: {named}"
            )
        self.progress.unread = len(result.unread)

    def _write(self, step: int, values: dict[str, float]) -> None:
        self.metrics.log(values, step)
        self.tracker.log_metrics(values, step)

    def flush(self) -> None:
        """Send the tracker what it holds back; the metrics file holds every line already."""
        self.tracker.flush()

    def figures(self) -> dict[str, Any]:
        """The summary's numbers, under the names scripts rely on."""
        progress = self.progress
        best, final = progress.best, progress.final
        return {
            "best_val_miou": best.get("val_miou"),
            "best_val_miou_all": best.get("val_miou_all"),
            "best_step": best.get("step"),
            "final_val_miou": final.get("val_miou"),
            "train_miou": best.get("train_miou"),
            "class_iou": best.get("class_iou", {}),
            "absent_classes": best.get("absent", []),
            "gap": best.get("gap"),
            **{f"st_{key}": progress.st.get(f"st/{key}") for key in ("pixels", "images", "coverage", "precision")},
            "seconds_per_step": progress.seconds / max(1, progress.timed_steps),
            "images_per_s": None if progress.images is None else progress.images / max(progress.seconds, 1e-9),
            "train_seconds": progress.seconds,
            "peak_memory_mib": peak_memory_mib(self.device),
            "skipped_steps": progress.skipped_steps,
            "skipped_files": progress.skipped,
            "skipped_in_evaluation": progress.unread,
            "findings": [asdict(finding) for finding in self.watch.findings()],
        }

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return vars(self.progress) | {"watch": self.watch.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Counterpart of `state_dict`; a checkpoint of before the doctor holds no `watch`, and one count for all."""
        older: dict[str, Any] = {"images": None}
        known = {name: value for name, value in state.items() if name not in ("watch", "st_times")}
        self.progress = Progress(**older | known)
        if "st_times" in state:
            self.progress.st_counts = dict.fromkeys(self.progress.st_sums, int(state["st_times"]))
        self.watch.load_state_dict(state.get("watch", {}))

    def forget_best(self) -> None:
        """Leave out the scores of the best weights, which are gone."""
        self.progress.best = {}

    def forget_run(self) -> None:
        """Leave out what belongs to the run that a checkpoint came from: its scores, its findings, its tracked run."""
        self.watch.load_state_dict({})
        self.progress.best, self.progress.final, self.progress.run_id = {}, {}, None
