from datetime import date
from pathlib import Path

import pytest

from semiseg.report.collect import Run, read_run
from semiseg.report.contents import score_notes
from semiseg.report.differences import config_tables, provenance_notes, provenance_table
from semiseg.report.gains import gains
from semiseg.report.group import Cohort, Group, baselines, group_runs
from semiseg.report.notes import length_notes
from semiseg.report.scores import (
    PSEUDO_LABELS,
    class_table,
    guide_table,
    how_resampled,
    ladder_notes,
    ladder_table,
    leading,
    number_table,
    partial_notes,
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
    return Cohort("", "", tuple(groups), baselines(groups, None)[0])


def test_the_guides_table_has_a_column_a_system_with_the_baseline_first(cohort):
    cells = guide_table(cohort)
    assert cells.header == ["metric", "v1", "v3 pseudo_label=softmax", "v3 pseudo_label=none"]
    rows = {row[0]: row[1:] for row in cells.rows}
    peak = [found[0] for g in leading(cohort, 9) if (found := g.mean_sd("best_val_miou"))]
    assert [text[:6] for text in rows["Peak val mIoU"]] == [f"{value:.4f}" for value in peak]
    assert rows["Architecture"][:2] == ["DeepLabV2, resnet101", "MultiHeadDeepLabV3Plus, resnet50, 3 heads"]
    assert rows["Pseudo-labelling"] == ["discriminator, threshold 0.2", "softmax, threshold 0.65", "none"]
    assert rows["ST pixels a step"][2] == "" and rows["ST images a step"][0].startswith("2.")
    assert rows["Parameters"] == ["44,048,532", "26,682,725", "26,682,725"]
    assert rows["Seeds"] == ["0, 1, 2", "0, 1, 2", "0"]
    assert rows["Time in training steps, h:mm:ss"][1] == "0:02:05"
    guide = ["Final val mIoU", "Train/val gap", "GFLOPs an image", "Images/s in training"]
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


@pytest.mark.parametrize("lacking", ["v1", "v3"])
def test_a_difference_over_fewer_seeds_than_the_means_says_so_at_its_row(make_run, tmp_path, lacking):
    for model, miou in (("v1", 0.4), ("v3", 0.6)):
        for seed in range(3):
            make_run(tmp_path / f"{model}-{seed}", model=model, seed=seed, miou=miou)
    (tmp_path / f"{lacking}-2" / "confusion_best.npz").unlink()
    groups = tuple(group_runs([read_run(path) for path in sorted(tmp_path.iterdir())]))
    cohort = Cohort("", "", groups, baselines(groups, None)[0])
    row = dict(zip((cells := score_table(cohort)).header, cells.rows[0], strict=True))
    assert row["recipe"] == "v3" and row["difference"].endswith(" *") and row["seeds"] == "0, 1, 2"
    text = f"{lacking}: difference over seeds 0 and 1 alone, since seed 2 has no confusion_best.npz"
    assert f"* {text}; its mean is over all of its seeds." in score_notes(cohort)
    captions = [picture.caption for picture in gains(cohort)]
    assert captions and text in captions[0]
    (tmp_path / f"{lacking}-2" / "confusion_best.npz").write_bytes(b"cut")
    assert any("seed 2 has no readable confusion_best.npz" in note for note in score_notes(cohort))


def test_seeds_with_all_their_matrices_have_no_mark(cohort):
    assert not any("*" in cell for row in score_table(cohort).rows for cell in row)
    assert partial_notes(cohort) == [] == length_notes(cohort)


def test_runs_of_another_length_are_told_of():
    base = group("v1", 0.5, total_steps=2000, steps=2000)
    stopped = group("v3", 0.6, total_steps=2000, steps=900, status="stopped early")
    short = [group(name, 0.4, total_steps=200, steps=200) for name in ("v2", "v4")]
    cut = group("v6", 0.5, total_steps=5000, steps=900, status="stopped early")
    cohort = Cohort("", "", (stopped, base, *short, group("v5", 0.3), cut), base)
    note, other = length_notes(cohort)
    assert note.startswith("v2, v4 trained 200 iterations, the baseline 2,000: ")
    assert other.startswith("v6 trained 900 of 5,000 iterations, the baseline 2,000: ")
    assert note in score_notes(cohort)


def test_one_recipe_says_what_to_type_next():
    (note,) = score_notes(Cohort("", "", (only := group("v1", 0.5, 0.6),), only))
    assert "nothing to compare: v1 is the only recipe" in note and " train.py -m model=v3 seed=0,1 with" in note


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
    (note,) = ladder_notes(groups)
    assert "no run of rung 1, 3, 4, 5, 6, 7, 8, 9," in note
    (first, second, _) = rungs(groups)
    assert ladder_notes([first]) == [] and "several recipes are of rung 2" in ladder_notes([second, second])[0]
    same = make_run(tmp_path / "plain", seed=5, miou=0.4, overrides={"optim.lr": 2})  # as model=v1 is of the first
    joined = group_runs([read_run(path) for path in (*paths, same)])
    assert [len(rung.runs) for rung in rungs(joined)] == [3, 2, 2]


def test_tables_hold_the_facts_that_some_run_has():
    with_labels = group("v3", 0.6, st_pixels=34821.0, parameters=26682725)
    groups = [with_labels, group("v0", 0.5)]
    labels = number_table("Pseudo labels", groups, PSEUDO_LABELS)
    assert labels.header == ["recipe", "ST pixels"] and [row[1] for row in labels.rows] == ["34,821", ""]


def test_classes_that_a_recipe_never_saw_are_absent():
    groups = [group("v3", 0.6, class_iou={"Jalan": 0.5, "Badan Air": None}), group("v0", 0.5)]
    cells = class_table(groups)
    assert cells.header == ["recipe", "Jalan", "Badan Air"]
    assert cells.rows == [["v3", "0.5000", "absent"], ["v0", "absent", "absent"]]


def test_configurations_are_shown_where_they_differ():
    one = group("v3", 0.6, settings={"a": "1", "b": "2", "model._target_": "semiseg.models.X"}, choices={"loss": "ce"})
    two = group("v1", 0.5, settings={"a": "1", "b": "3", "c": "4"}, choices={"loss": "ce"})
    cells, folded = config_tables([one, two])
    assert cells.header == ["setting", "v3", "v1"] and not cells.folded
    assert cells.rows == [["model", "v3", "v1"], ["b", "2", "3"], ["c", "-", "4"]]
    assert folded.rows == [["model._target_", "models.X", "-"]] and folded.folded


def test_an_unknown_configuration_makes_no_setting_differ():
    known = [group("v3", 0.6, settings={"a": rate, "b": "2"}) for rate in ("1", "3")]
    cells, _ = config_tables([*known, group("v3", 0.5)])
    assert cells.rows == [["a", "1", "3", "unknown"]]


def test_settings_of_a_choice_that_differs_are_folded_unless_both_have_them():
    def made(word: str, **settings) -> Group:
        flat = {f"pseudo_label.{key}": value for key, value in settings.items()}
        return group("v3", 0.5, settings={"optim.lr": "0.1"} | flat, choices={"pseudo_label": word, "optim": "sgd"})

    first = made("softmax", _target_="A", threshold="0.65", weight="1")
    second = made("discriminator", _target_="B", threshold="0.2", channels="64")
    cells, folded = config_tables([first, second])
    assert [row[0] for row in cells.rows] == ["pseudo_label", "pseudo_label.threshold"]
    assert [row[0] for row in folded.rows] == ["pseudo_label._target_", "pseudo_label.weight", "pseudo_label.channels"]


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
    assert provenance_notes(cohort.groups) == []
    other = Run(Path("s/3"), {**runs[0].summary, "git_commit": "abc+changes", "name": "3", "sweep": "s", "seed": 7})
    notes = provenance_notes([*cohort.groups, Group((other,), "v3 optim.lr=1")])
    assert notes[0].startswith("The runs come from 2 commits: ")
    assert "no commit holds: v3 optim.lr=1 (seed 7)." in notes[1]
