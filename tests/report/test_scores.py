from datetime import date
from pathlib import Path

import pytest

from semiseg.report.collect import Run, read_run
from semiseg.report.differences import config_table, provenance_notes, provenance_table
from semiseg.report.group import Cohort, Group, find_baseline, group_runs
from semiseg.report.scores import (
    COST,
    PSEUDO_LABELS,
    class_table,
    guide_table,
    how_resampled,
    ladder_table,
    leading,
    number_table,
    rungs,
    score_table,
)


def group(model: str, *mious: float, settings=None, **facts) -> Group:
    runs = [
        Run(Path(f"{model}{seed}"), {"model": model, "seed": seed, "best_val_miou": m, **facts}, settings or {})
        for seed, m in enumerate(mious)
    ]
    return Group(tuple(runs), model)


@pytest.fixture(scope="module")
def cohort(make_run, tmp_path_factory) -> Cohort:
    """V1 and V3 with three seeds each, supervised training with one."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [make_run(folder / f"v1-{s}", model="v1", seed=s, miou=0.4) for s in range(3)]
    runs += [make_run(folder / f"v3-{s}", seed=s, miou=0.6) for s in range(3)]
    runs.append(make_run(folder / "none", miou=0.5, overrides={"pseudo_label": "none"}))
    groups = group_runs([read_run(path) for path in runs])
    return Cohort("", "", tuple(groups), find_baseline(groups, None))


def test_the_guides_table_has_a_column_a_system_with_the_baseline_first(cohort):
    cells = guide_table(cohort)
    assert cells.header == ["metric", "v1", "v3 pseudo_label=softmax", "v3 pseudo_label=none"]
    rows = {row[0]: row[1:] for row in cells.rows}
    peak = [found[0] for g in leading(cohort, 9) if (found := g.mean_sd("best_val_miou"))]
    assert [text[:6] for text in rows["Peak val mIoU"]] == [f"{value:.4f}" for value in peak]
    assert rows["Architecture"][:2] == ["DeepLabV2, resnet101", "MultiHeadDeepLabV3Plus, resnet50, 3 heads"]
    assert rows["Pseudo-labelling"] == ["discriminator, threshold 0.2", "softmax, threshold 0.65", "none"]
    assert rows["ST pixels a batch"][2] == "" and rows["ST images a batch"][0].startswith("2.")
    assert rows["Parameters"] == ["44,048,532", "26,682,725", "26,682,725"]
    assert rows["Seeds"] == ["0, 1, 2", "0, 1, 2", "0"]
    assert rows["Training time, h:mm:ss"][1] == "0:02:05"
    guide = ["Final val mIoU", "Train/val gap", "GFLOPs an image", "Images/s in training", "Peak memory, MiB"]
    assert all(all(rows[name]) for name in guide)


def test_class_thresholds_are_named_instead_of_the_one_that_is_not_used():
    settings = {"pseudo_label.class_thresholds.Jalan": "0.7", "pseudo_label.threshold": "0.65"}
    found = group("v3", 0.5, settings=settings, choices={"pseudo_label": "softmax"})
    cells = guide_table(Cohort("", "", (found,)))
    assert ["Pseudo-labelling", "softmax, class thresholds"] in cells.rows
    assert ["Architecture", "v3"] in cells.rows


def test_scores_have_spread_difference_interval_and_verdict(cohort):
    cells = score_table(cohort)
    assert cells.title == "Scores, held against v1"
    rows = {row[0]: dict(zip(cells.header, row, strict=True)) for row in cells.rows}
    v3, none, base = (rows[name] for name in ("v3 pseudo_label=softmax", "v3 pseudo_label=none", "v1"))
    assert v3["verdict"] == "better" and v3["difference"].startswith("+0.") and v3["95 % interval"].startswith("[+0.")
    assert " ± " in v3["peak val mIoU"] and " ± " not in none["peak val mIoU"]
    assert none["verdict"] == "too few seeds" and none["95 % interval"]
    assert (base["difference"], base["95 % interval"], base["verdict"]) == ("", "", "baseline")
    assert "2,000 paired bootstrap resamples of the validation sources" in how_resampled(cohort)


def test_without_matrices_the_difference_stands_without_an_interval():
    best, base = group("v3", 0.6, 0.7), group("v1", 0.5)
    cohort = Cohort("", "", (best, base), base)
    cells = score_table(cohort)
    assert cells.header == ["recipe", "seeds", "peak val mIoU", "difference", "verdict"]
    assert cells.rows == [
        ["v3", "0, 1", "0.6500 ± 0.0707", "+0.1500", "no matrices an image to resample"],
        ["v1", "0", "0.5000", "", "baseline"],
    ]
    assert how_resampled(cohort) == ""


def test_the_ladder_holds_each_rung_against_the_one_before(make_run, tmp_path):
    words = ["ladder/10_schedule", "ladder/0_v1", "ladder/2_loss", None]
    paths = [
        make_run(tmp_path / f"{i}-{s}", seed=s, miou=0.4 + 0.05 * i, overrides={"optim.lr": i + 1, "experiment": word})
        for i, word in enumerate(words)
        for s in range(2)
    ]
    groups = group_runs([read_run(path) for path in paths])
    assert [rung.experiment for rung in rungs(groups)] == ["ladder/0_v1", "ladder/2_loss", "ladder/10_schedule"]
    cells = ladder_table(groups)
    assert [row[0] for row in cells.rows] == ["ladder/0_v1", "ladder/2_loss", "ladder/10_schedule"]
    assert cells.rows[0][2:] == ["", "", ""]
    assert cells.rows[1][2].startswith("+") and cells.rows[2][2].startswith("-")
    assert cells.rows[2][4] == "worse"


def test_tables_hold_the_facts_that_some_run_has():
    with_labels = group("v3", 0.6, st_pixels=34821.0, parameters=26682725)
    groups = [with_labels, group("v0", 0.5)]
    labels = number_table("Pseudo labels", groups, PSEUDO_LABELS)
    assert labels.header == ["recipe", "ST pixels"] and [row[1] for row in labels.rows] == ["34,821", ""]
    cost = number_table("Cost", groups, COST)
    assert [row[1] for row in cost.rows] == ["26,682,725", ""]


def test_classes_that_a_recipe_never_saw_are_absent():
    groups = [group("v3", 0.6, class_iou={"Jalan": 0.5, "Badan Air": None}), group("v0", 0.5)]
    cells = class_table(groups)
    assert cells.header == ["recipe", "Jalan", "Badan Air"]
    assert cells.rows == [["v3", "0.5000", "absent"], ["v0", "absent", "absent"]]


def test_configurations_are_shown_where_they_differ():
    one = group("v3", 0.6, settings={"a": "1", "b": "2", "model._target_": "semiseg.models.X"}, choices={"loss": "ce"})
    two = group("v1", 0.5, settings={"a": "1", "b": "3", "c": "4"}, choices={"loss": "ce"})
    cells = config_table([one, two])
    assert cells.header == ["setting", "v3", "v1"]
    assert cells.rows == [["b", "2", "3"], ["model._target_", "models.X", "-"], ["c", "-", "4"]]


def test_provenance_is_a_row_a_run_and_what_differs_is_noted(cohort):
    cells = provenance_table(cohort.groups)
    assert len(cells.rows) == 7
    row = dict(zip(cells.header, cells.rows[0], strict=True))
    assert (
        row["commit"].startswith("0123456789")
        and row["data"] == "data0"
        and row["started"] == date.fromtimestamp(1_795_000_010).isoformat()
    )
    assert row["versions"] == "semiseg 0.1.0, torch 2.15.0, python 3.11.7" and "semiseg train" in row["command"]
    runs = [run for each in cohort.groups for run in each.runs]
    assert provenance_notes(runs) == []
    other = Run(Path("x"), {**runs[0].summary, "git_commit": "abc+changes", "name": "x"})
    notes = provenance_notes([*runs, other])
    assert notes[0].startswith("The runs come from 2 commits: ") and "no commit holds: x." in notes[1]
