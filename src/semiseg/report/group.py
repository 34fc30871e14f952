"""Runs that differ in their seed alone, and which of these groups may be compared with each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean, stdev

import numpy as np

from semiseg.report.collect import Run
from semiseg.report.history import History
from semiseg.report.names import recipes
from semiseg.report.statistics import Difference, Unit, by_unit, difference, resampled_miou, resampling_units


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one recipe on the same data, one a seed."""

    runs: tuple[Run, ...]
    name: str = ""  # what tells it apart from the others of its cohort, as a user would type it

    @cached_property
    def choices(self) -> dict[str, str]:
        return self.runs[0].choices

    @property
    def settings(self) -> Mapping[str, str]:
        """The flat config without what only names a run."""
        return self.runs[0].settings

    @property
    def typed(self) -> Mapping[str, str]:
        """The overrides it was started with, without what only names a run."""
        first, *others = (run.typed.items() for run in self.runs)
        return dict(pair for pair in first if all(pair in other for other in others))

    @property
    def model(self) -> str:
        return self.runs[0].model

    @property
    def experiment(self) -> str | None:
        """The recipe of `experiment=` that every run was started with, such as `ladder/1_architecture`."""
        words = {run.words.get("experiment") for run in self.runs}
        return words.pop() if len(words) == 1 else None

    @property
    def seeds(self) -> list[str]:
        return [run.seed for run in self.runs]

    @property
    def histories(self) -> list[History]:
        return [run.history for run in self.runs]

    def values(self, key: str) -> list[float]:
        """The number `key` of every run that has it."""
        return [value for run in self.runs if (value := run.number(key)) is not None]

    def mean_sd(self, key: str) -> tuple[float, float | None] | None:
        """Mean and sample standard deviation (None for a single run); None where no run has the number."""
        values = self.values(key)
        return (fmean(values), stdev(values) if len(values) > 1 else None) if values else None

    def class_iou(self, name: str) -> tuple[float, float | None] | None:
        """Mean and sample standard deviation of the IoU of a class; None where it is absent from every run."""
        values = [float(v) for run in self.runs if isinstance(v := run.class_iou.get(name), int | float)]
        return (fmean(values), stdev(values) if len(values) > 1 else None) if values else None

    def confusion(self) -> np.ndarray | None:
        """Confusion matrix over all validation patches and seeds, [C, C]; None where no run has one."""
        found = [matrices[0].sum(0) for run in self.runs if (matrices := run.matrices())]
        return np.sum(found, axis=0) if found else None

    def difference(self, other: Group) -> Difference | None:
        """Best validation mIoU of this recipe minus that of `other`; None where a side has no matrices an image, or
        those of other patches."""
        unit: Unit = "source" if self.by_source is not None and other.by_source is not None else "image"
        mine, theirs = (side.by_source if unit == "source" else side.by_image for side in (self, other))
        if mine is None or theirs is None or mine[0] != theirs[0]:
            return None
        return difference(mine[1], theirs[1], unit)

    @cached_property
    def by_source(self) -> tuple[int, np.ndarray] | None:
        """Number of base images, and mIoU [S, 1 + samples] over resamples of them; None where a run has too few of
        them or does not name them."""
        return self._resampled("source")

    @cached_property
    def by_image(self) -> tuple[int, np.ndarray] | None:
        """The same over resamples of patches."""
        return self._resampled("image")

    @cached_property
    def resampled(self) -> list[Run]:
        """The runs that its differences are over: those with matrices."""
        return [run for run in self.runs if run.has_matrices]

    def _resampled(self, wanted: Unit) -> tuple[int, np.ndarray] | None:
        rows, number = [], 0
        for run in self.runs:
            found = run.matrices()
            if found is None:
                continue
            matrices, sources = found
            unit, units = resampling_units(sources if wanted == "source" else None, len(matrices))
            if unit != wanted or number not in (0, int(units.max()) + 1):
                return None
            number = int(units.max()) + 1
            rows.append(resampled_miou(by_unit(matrices, units), excluded_classes(run)))
        return (number, np.stack(rows)) if rows else None

    def answers_to(self, name: str) -> bool:
        """Is this a group a user may mean by `name`: its name, model or experiment, or the name or folder of a run?"""
        return name in (self.name, self.model, self.experiment) or any(
            name in (run.name, run.label, run.folder.name) for run in self.runs
        )


@dataclass(frozen=True, eq=False)
class Cohort:
    """Groups whose scores may be held against each other, the best first."""

    title: str  # "" where there is only one cohort
    reason: str  # why these runs are apart from the others, in words; "" where there is only one cohort
    groups: tuple[Group, ...]
    baseline: Group | None = None
    rivals: tuple[Group, ...] = ()  # what else the baseline's word fits, or would have been as good a choice


def excluded_classes(run: Run) -> list[int]:
    """Ids of the classes that the headline mIoU leaves out."""
    names = run.summary.get("miou_leaves_out")
    if isinstance(names, list) and run.classes:
        return [run.classes.index(name) for name in names if name in run.classes]
    text = run.settings.get("data.exclude_from_miou", "").strip("[]")
    return [int(word) for word in text.split(",") if word.isdecimal()]


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Groups of runs that agree in model and settings, named, the best mean `best_val_miou` first.

    Runs that left no config behind are held against each other by their config-group words instead.
    """
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        cells = run.settings or run.choices
        groups.setdefault((run.model, *sorted(cells.items())), []).append(run)
    ordered = [Group(tuple(sorted(members, key=_by_seed))) for members in groups.values()]
    ordered.sort(key=lambda g: -(g.mean_sd("best_val_miou") or (-1.0, None))[0])
    return [replace(group, name=name) for group, name in zip(ordered, recipes(ordered), strict=True)]


def _by_seed(run: Run) -> tuple[int, str]:
    return (int(run.seed) if run.seed.isdecimal() else -1, run.seed)


def baselines(groups: Sequence[Group], name: str | None) -> list[Group]:
    """The groups that `name` means, the first of which is taken: the one with the shortest name, which is the recipe
    with the fewest changes; those of unknown configuration come last. Without a name V1, else supervised training,
    else the best group alone.
    """
    best = next((group for group in groups if group.settings), groups[0] if groups else None)
    wanted: list[Callable[[Group], bool]] = [
        lambda group: group.name == "v1",
        lambda group: group.model == "v1",
        lambda group: group.choices.get("pseudo_label") == "none",
        lambda group: group is best,
    ]
    if name is not None:
        wanted = [lambda group: group.name == name, lambda group: group.answers_to(name)]
    for fits in wanted:
        if found := [group for group in groups if fits(group)]:
            return sorted(found, key=lambda group: (not group.settings, len(group.name.split())))
    return []
