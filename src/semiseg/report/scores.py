"""The tables of a cohort in numbers: the guides' comparison, scores with intervals, pseudo labels, cost, classes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from semiseg.pace import clock
from semiseg.report.collect import Run
from semiseg.report.group import Cohort, Group
from semiseg.report.table import Cells, mean_text

Column = tuple[str, str, str]  # heading, key of summary.json, form of a number

SCORES: tuple[Column, ...] = (
    ("peak val mIoU", "best_val_miou", "{:.4f}"),
    ("final val mIoU", "final_val_miou", "{:.4f}"),
    ("stability", "stability", "{:.4f}"),
    ("train/val gap", "gap", "{:.4f}"),
)
PSEUDO_LABELS: tuple[Column, ...] = (
    ("ST pixels", "st_pixels", "{:,.0f}"),
    ("ST images", "st_images", "{:.1f}"),
    ("ST coverage", "st_coverage", "{:.1%}"),
    ("ST precision", "st_precision", "{:.1%}"),
)
PARTIAL = " *"  # behind a difference that is over fewer seeds than the means
SYSTEMS = 12  # columns of the tables with a column a system

SCORES_INTRO = (
    "Mean ± standard deviation over seeds. Stability is the standard deviation of the validation mIoU over the last "
    "third of a run's evaluations; the gap is training minus validation mIoU at the best evaluation."
)
UNIT_OF_ST = (
    "ST counts what self-training used of a step's unlabelled images, in the same units for every method: pixels, "
    'images, and coverage, the share of the unlabelled pixels. The guides hold "ST_cnt below 10" of V1 and V2 against '
    '"ST_px 35,000" of V3, which cannot be compared: the first counts images of a batch of 4 to 8, the second pixels, '
    "and a V1 batch with 4 kept images of 256x256 self-trains on 262,144 pixels. Precision is the share of the kept "
    "pixels whose pseudo label is right; it is known where the unlabelled patches have hidden masks."
)
INTERVALS = (
    "Difference in the mean peak val mIoU, with a 95 % interval from {samples:,} paired bootstrap resamples of the "
    'validation {unit}s and of the seeds. Above zero the verdict is "better", below "worse", across it "not '
    'distinguishable"; with one seed on a side the interval knows the images alone, and there is no verdict. Each '
    "verdict stands for itself: of twenty recipes that change nothing, one will be called different."
)


def guide_table(cohort: Cohort) -> Cells:
    """The guides' "V1 vs V2 vs V3", a column a system: the baseline and the best others."""
    groups = leading(cohort, SYSTEMS)
    rows: list[tuple[str, Callable[[Group], str]]] = [
        ("Peak val mIoU", _number("best_val_miou", "{:.4f}")),
        ("Final val mIoU", _number("final_val_miou", "{:.4f}")),
        ("Stability (sd of val mIoU, last third)", _number("stability", "{:.4f}")),
        ("ST pixels a step", _number("st_pixels", "{:,.0f}")),
        ("ST images a step", _number("st_images", "{:.1f}")),
        ("ST coverage", _number("st_coverage", "{:.1%}")),
        ("ST precision", _number("st_precision", "{:.1%}")),
        ("Train/val gap", _number("gap", "{:.4f}")),
        ("Time in training steps, h:mm:ss", training_time),
        ("Steps", _number("steps", "{:,.0f}")),
        ("Architecture", architecture),
        ("Pseudo-labelling", pseudo_labelling),
        ("Parameters", _number("parameters", "{:,.0f}")),
        ("Weights, MiB", _number("weights_mib", "{:,.2f}")),
        ("GFLOPs an image", _number("gflops", "{:,.2f}")),
        ("Latency of one image, ms", _number("latency_ms", "{:,.2f}")),
        ("Images/s in training", _number("images_per_s", "{:,.1f}")),
        ("Peak memory in training, MiB", _number("peak_memory_mib", "{:,.0f}")),
        ("Seeds", lambda group: ", ".join(group.seeds)),
    ]
    shown = [[label, *(cell(group) for group in groups)] for label, cell in rows]
    known = [row for row in shown if any(row[1:])]
    return Cells("The guides' comparison, measured", ["metric", *(group.name for group in groups)], known)


def leading(cohort: Cohort, count: int) -> list[Group]:
    """The baseline first, then the best others, `count` in all."""
    base = cohort.baseline
    return [*([base] if base else []), *(group for group in cohort.groups if group is not base)][:count]


def _number(key: str, form: str) -> Callable[[Group], str]:
    return lambda group: number_text(group, key, form)


def number_text(group: Group, key: str, form: str) -> str:
    """Mean ± sd over the seeds; what does not vary (parameters) without the second part."""
    found = group.mean_sd(key)
    return mean_text((found[0], found[1] or None) if found else None, form)


def training_time(group: Group) -> str:
    """Mean time in training steps, without evaluations and saving."""
    found = group.mean_sd("train_seconds")
    return clock(found[0]) if found else ""


def architecture(group: Group) -> str:
    """The network's class and encoder: `DeepLabV2, resnet101`; the model's word where the run kept no config."""
    name = group.settings.get("model._target_", "").rpartition(".")[2] or group.model
    heads = group.settings.get("model.num_heads", "1")
    parts = [name, group.settings.get("model.encoder", ""), f"{heads} heads" if heads not in ("1", "null") else ""]
    return ", ".join(part for part in parts if part)


def pseudo_labelling(group: Group) -> str:
    """The word of `pseudo_label=`, and what decides: `softmax, class thresholds`, `discriminator, threshold 0.2`."""
    word = group.choices.get("pseudo_label", "")
    by_class = any(key.startswith("pseudo_label.class_thresholds.") for key in group.settings)
    threshold = group.settings.get("pseudo_label.threshold", "")
    decided = "class thresholds" if by_class else f"threshold {threshold}" if threshold else ""
    return ", ".join(part for part in (word, decided) if part)


def score_table(cohort: Cohort) -> Cells:
    """Scores over seeds and the difference to the baseline with its interval and verdict."""
    base = cohort.baseline
    rows = []
    for group in cohort.groups:
        peak, *others = [number_text(group, key, form) for _, key, form in SCORES]
        rows.append([group.name, ", ".join(group.seeds), peak, *versus(group, base), *others])
    title = "Scores" if base is None else f"Scores, held against {base.name}"
    peak, *others = [heading for heading, _, _ in SCORES]
    heads = ["recipe", "seeds", peak, "difference", "95 % interval", "verdict", *others]
    return Cells(title, heads, rows, minor=("seeds", *others)).without_empty()


def versus(group: Group, base: Group | None) -> list[str]:
    """Difference, interval and verdict against the baseline."""
    if base is None or group is base:
        return ["", "", "" if base is None else "baseline"]
    found = group.difference(base)
    if found is not None:
        mark = PARTIAL if partial(group) or partial(base) else ""
        return [f"{found.mean:+.4f}{mark}", f"[{found.low:+.4f}, {found.high:+.4f}]", found.verdict]
    mine, other = group.mean_sd("best_val_miou"), base.mean_sd("best_val_miou")
    return [f"{mine[0] - other[0]:+.4f}" if mine and other else "", "", "no matrices an image to resample"]


def partial(group: Group) -> str:
    """That differences are over fewer seeds than the mean, and why; "" where they are over the same."""
    used, lost = group.resampled, [run for run in group.runs if not run.has_matrices]
    if not used or not lost:
        return ""
    why = "has no confusion_best.npz" if len(lost) == 1 else "have no confusion_best.npz"
    if any((run.folder / "confusion_best.npz").is_file() for run in lost):
        why = why.replace("no confusion", "no readable confusion")
    return f"{group.name}: difference over {seeds_text(used)} alone, since {seeds_text(lost)} {why}"


def seeds_text(runs: Sequence[Run]) -> str:
    """`seed 2` or `seeds 0 and 1`."""
    *first, last = [run.seed for run in runs]
    return f"seeds {', '.join(first)} and {last}" if first else f"seed {last}"


def partial_notes(cohort: Cohort) -> list[str]:
    """A line a recipe whose differences do not follow from the means beside them; none where none is resampled."""
    told = [text for group in cohort.groups if (text := partial(group))] if how_resampled(cohort) else []
    return [f"{PARTIAL.strip()} {text}; its mean is over all of its seeds." for text in told]


def how_resampled(cohort: Cohort) -> str:
    """The sentence on intervals with what was drawn; empty where no pair could be resampled."""
    base = cohort.baseline
    found = [group.difference(base) for group in cohort.groups if base is not None and group is not base]
    units = sorted({each.unit for each in found if each is not None})
    samples = next((each.samples for each in found if each is not None), 0)
    return INTERVALS.format(samples=samples, unit="s or ".join(units)) if units else ""


def rungs(groups: Sequence[Group]) -> list[Group]:
    """The groups of the ablation ladder from the first rung to the last: those with `experiment=ladder/N_NAME`.

    Other runs of such a group have the same settings under another word, as `model=v1` has those of the first rung.
    """
    return [group for _, group in _numbered(groups)]


def _numbered(groups: Sequence[Group]) -> list[tuple[int, Group]]:
    found = []
    for group in groups:
        words = {str(run.words.get("experiment")) for run in group.runs}
        numbers = {int(match[1]) for word in words if (match := re.match(r"ladder/(\d+)_", word))}
        found += [(number, group) for number in numbers if len(numbers) == 1]
    return sorted(found, key=lambda item: item[0])


def ladder_notes(groups: Sequence[Group]) -> list[str]:
    """Where a gain over the rung before is not that of one change."""
    numbers = [number for number, _ in _numbered(groups)]
    whole = range(numbers[0], numbers[-1]) if numbers else ()
    notes = []
    if missing := [str(number) for number in whole if number not in numbers]:
        notes.append(
            f"Ladder: no run of rung {', '.join(missing)}, so that the rung after it is held against an earlier one "
            "and its gain is that of several changes."
        )
    if twice := sorted({str(number) for number in numbers if numbers.count(number) > 1}):
        notes.append(f"Ladder: several recipes are of rung {', '.join(twice)}, and each is held against the one above.")
    return notes


def ladder_table(groups: Sequence[Group]) -> Cells:
    """What each rung of the ladder gained over the one before it."""
    steps = rungs(groups)
    rows = []
    for before, group in zip([None, *steps], steps, strict=False):
        rows.append([group.name, number_text(group, "best_val_miou", "{:.4f}"), *versus(group, before)])
    return Cells("Ladder", ["rung", "peak val mIoU", "gain over the rung before", "95 % interval", "verdict"], rows)


def number_table(title: str, groups: Sequence[Group], columns: Sequence[Column]) -> Cells:
    """Mean ± sd over seeds of the facts that any recipe has, a row a recipe."""
    rows = [[group.name, *(number_text(group, key, form) for _, key, form in columns)] for group in groups]
    return Cells(title, ["recipe", *(heading for heading, _, _ in columns)], rows).without_empty()


def class_table(groups: Sequence[Group]) -> Cells:
    """Mean ± sd over seeds of each class's IoU at the best evaluation; "absent" where no run of a recipe has it."""
    classes = list(dict.fromkeys(name for group in groups for run in group.runs for name in run.class_iou))
    rows = [[g.name, *(mean_text(g.class_iou(name), "{:.4f}") or "absent" for name in classes)] for g in groups]
    return Cells("Class IoU", ["recipe", *classes], rows)
