"""A run as the rules see it: one value an evaluation, and what is known of its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from semiseg.report.history import Series

CLASS_IOU = "val/iou/"
EVALUATED = ("val/miou", "train/miou", "gap")
LOSS = "loss/"
SELF_TRAINING = ("st/pixels", "st/images", "st/coverage", "st/precision")
Point = tuple[int, float]  # step, value


def is_evaluated(name: str) -> bool:
    """Whether an evaluation gives this quantity, and a rule reads it."""
    return name in EVALUATED or name.startswith(CLASS_IOU)


def is_logged(name: str) -> bool:
    """Whether a log step gives this quantity, and a rule reads it."""
    return name in SELF_TRAINING or name.startswith(LOSS)


def per_evaluation(history: Mapping[str, Series]) -> dict[str, Series]:
    """What the rules read, at the evaluations alone: logged quantities as their mean since the evaluation before.

    Single log lines are noisy, and a training keeps a few hundred numbers instead of all. What was logged after the
    last evaluation waits for the next. Applied twice, it changes nothing.
    """
    at = [history[name].steps for name in ("gap", "val/miou") if name in history]
    edges = np.unique(np.concatenate(at)) if at else np.zeros(0, np.int64)
    means = {name: _means(each, edges) for name, each in history.items() if is_logged(name)}
    return means | {name: each for name, each in history.items() if is_evaluated(name)}


def _means(logged: Series, edges: np.ndarray) -> Series:
    """Mean of the finite values in each interval that ends with an edge; intervals without one are left out."""
    interval = np.searchsorted(edges, logged.steps)
    used = np.isfinite(logged.values) & (interval < len(edges))
    counts = np.bincount(interval[used], minlength=len(edges))
    sums = np.bincount(interval[used], logged.values[used], minlength=len(edges))
    return Series(edges[counts > 0], sums[counts > 0] / counts[counts > 0])


@dataclass(frozen=True)
class Case:
    """One run: its history by step, its summary (as far as it is written) and its settings under dotted names.

    Settings may be values or their texts, and may be missing: remedies then start from the guides' defaults.
    """

    history: Mapping[str, Series]
    summary: Mapping[str, object] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)

    @cached_property
    def evaluations(self) -> dict[str, Series]:
        return per_evaluation(self.history)

    def points(self, name: str) -> list[Point]:
        """(step, value) of a quantity at the evaluations, where it is finite."""
        found = self.evaluations.get(name)
        if found is None:
            return []
        finite = np.isfinite(found.values)
        return list(zip(found.steps[finite].tolist(), found.values[finite].tolist(), strict=True))

    def number(self, key: str) -> float | None:
        """A setting that is a number, None where it is none or not known."""
        try:
            return float(str(self.settings[key]))
        except (KeyError, ValueError):
            return None

    @property
    def classes(self) -> list[str]:
        """Names in the order of the ids; empty where they are not known."""
        named = self.summary.get("classes") or self.summary.get("colors")
        return [str(name) for name in named] if isinstance(named, list | tuple | Mapping) else []

    @property
    def left_out(self) -> list[str]:
        """Classes that do not count in the mIoU."""
        found = self.summary.get("miou_leaves_out")
        return [str(name) for name in found] if isinstance(found, list | tuple) else []

    @property
    def is_lightweight(self) -> bool:
        """Whether the network is the lightweight guide's, which was cut down from a larger one."""
        named = self.settings.get("model._target_", self.summary.get("model", ""))
        return str(named).rpartition(".")[2].lower() in ("lightweight", "lightweight_dsconv", "lightweightdsconv")

    @property
    def is_distillation(self) -> bool:
        """Whether a frozen teacher gives the pseudo labels."""
        return str(self.settings.get("pseudo_label._target_", "")).endswith(".Distillation")

    @cached_property
    def labeler(self) -> str:
        """Who picks the pseudo labels, which its remedies depend on: "discriminator", "softmax" or "none"."""
        choices = self.summary.get("choices")
        word = choices.get("pseudo_label", "") if isinstance(choices, Mapping) else ""
        named = f"{self.settings.get('pseudo_label._target_', '')} {word}".lower()
        if "discriminator" in named or "loss/discriminator" in self.history:
            return "discriminator"
        none = "nopseudolabels" in named or word == "none"
        none = none or str(self.settings.get("pseudo_label.unlabeled", True)).lower() == "false"
        known = bool(named.strip())
        self_trained = any(name in self.history for name in SELF_TRAINING) or self.summary.get("st_pixels") is not None
        return "none" if none or not (known or self_trained) else "softmax"

    @cached_property
    def class_thresholds(self) -> list[float | None] | None:
        """Thresholds of the classes by id, None for one that is never a pseudo label; None where they are not known."""
        key = "pseudo_label.class_thresholds"
        listed = self.settings.get(key)
        if not isinstance(listed, list | tuple):
            names = [(f"{key}.{name}", f"{key}.{number}") for number, name in enumerate(self.classes)]
            found = [next((k for k in pair if k in self.settings), None) for pair in names]
            listed = [self.settings[each] for each in found if each is not None]
        if not listed or len(listed) != len(self.classes):
            return None
        try:
            return [None if str(each) in ("None", "null") else float(str(each)) for each in listed]
        except ValueError:  # no threshold that could be changed by a number
            return None
