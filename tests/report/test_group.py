import os
from pathlib import Path

import pytest

from semiseg.errors import SemisegError
from semiseg.report.collect import Run, read_run
from semiseg.report.comparable import cohorts, without_repeats
from semiseg.report.compare import with_baseline
from semiseg.report.group import Group, baselines, excluded_classes, group_runs
from semiseg.report.names import recipes
from semiseg.report.notes import baseline_note


def run(seed: int = 0, miou: float | None = 0.5, model: str = "v3", settings=None, typed=None, **summary) -> Run:
    facts = {"status": "finished", "model": model, "seed": seed, "best_val_miou": miou, "data_fingerprint": "a"}
    return Run(
        Path(f"{model}-{seed}"), facts | summary, {"optim.lr": "0.1"} if settings is None else settings, typed or {}
    )


def names(*runs: Run) -> list[str]:
    return recipes([Group((each,)) for each in runs])


def test_seeds_are_grouped_and_other_settings_are_not():
    other = {"optim.lr": "0.2"}
    groups = group_runs([run(10, 0.5), run(2, 0.7), run(0, 0.65, settings=other), run(3, None)])
    assert [group.seeds for group in groups] == [["0"], ["2", "3", "10"]]
    mean, sd = groups[1].mean_sd("best_val_miou") or (0.0, None)
    assert mean == pytest.approx(0.6) and sd == pytest.approx(0.1 * 2**0.5)
    assert [group.name for group in groups] == ["v3 optim.lr=0.2", "v3 optim.lr=0.1"]


def test_the_words_that_made_a_config_do_not_part_runs_of_the_same_settings():
    """The last rung of the ladder is V3 cell by cell."""
    plain = run(0, choices={"loss": "combined"})
    rung = run(1, choices={"loss": "ce", "experiment": "ladder/8_schedule"})
    (group,) = group_runs([plain, rung])
    assert group.experiment is None and group.name == "v3"


@pytest.mark.parametrize(("key", "parts"), [("restore_from", True), ("trainer.keep_last", False)])
def test_what_can_change_a_score_parts_runs_and_housekeeping_does_not(make_run, tmp_path, key: str, parts: bool):
    runs = [read_run(make_run(tmp_path / str(s), seed=s, overrides={key: v})) for s, v in enumerate((None, "3"))]
    assert len(group_runs(runs)) == 1 + parts


def test_runs_without_a_config_are_grouped_by_their_words():
    groups = group_runs([run(s, settings={}, choices={"loss": loss}) for s, loss in enumerate(["ce", "ce", "focal"])])
    assert sorted((group.name, len(group.runs)) for group in groups) == [("v3 loss=ce", 2), ("v3 loss=focal", 1)]


def test_one_run_has_no_deviation_and_a_missing_fact_no_mean():
    group = Group((run(0, 0.5),))
    assert group.mean_sd("best_val_miou") == (0.5, None)
    assert group.mean_sd("st_precision") is None


def test_a_name_holds_what_differs_within_a_model():
    lr = [{"optim.lr": value} for value in ("0.1", "0.2", "0.3")]
    first = [run(settings=lr[0], choices={"loss": "ce"}), run(settings=lr[1], choices={"loss": "ce"})]
    third = run(settings=lr[2], choices={"loss": "focal"})
    assert names(*first, third) == ["v3 loss=ce optim.lr=0.1", "v3 loss=ce optim.lr=0.2", "v3 loss=focal"]
    assert names(run(model="v1", settings=lr[0]), run(model="v2", settings=lr[1])) == ["v1", "v2"]


def test_a_name_holds_what_was_typed_for_this_recipe_alone():
    both = {"trainer.max_steps": "9"}
    ablation = run(model="v1", choices={"pseudo_label": "softmax"}, settings={"optim.lr": "0.3", **both},
                   typed={"pseudo_label": "softmax", "optim.lr": "0.3", **both})  # fmt: skip
    plain = run(model="v3", choices={"pseudo_label": "softmax"}, settings={"optim.lr": "0.1", **both}, typed=both)
    assert names(ablation, plain) == ["v1 pseudo_label=softmax optim.lr=0.3", "v3"]


def test_an_experiment_is_a_name_of_its_own():
    rungs = [run(choices={"experiment": word, "loss": loss}, settings={"a": loss})
             for word, loss in [("ladder/0_v1", "ce"), ("ladder/3_loss", "combined")]]  # fmt: skip
    again = run(choices={"experiment": "ladder/0_v1", "loss": "ce"}, settings={"a": "x"}, typed={"a": "x"})
    assert names(*rungs, again) == ["ladder/0_v1", "ladder/3_loss", "ladder/0_v1 a=x"]


def test_settings_of_another_choice_are_no_part_of_a_name():
    softmax = run(
        choices={"pseudo_label": "softmax"}, settings={"pseudo_label.threshold": "0.65", "trainer.max_steps": "10"}
    )
    none = run(choices={"pseudo_label": "none"}, settings={"pseudo_label.weight": "1.0", "trainer.max_steps": "20"})
    assert names(softmax, none) == ["v3 pseudo_label=softmax", "v3 pseudo_label=none"]


def test_a_setting_that_one_recipe_lacks_is_shown_where_nothing_else_differs():
    assert names(run(settings={"loss.a": "1"}), run(settings={"aug.flip": "true"})) == [
        "v3 loss.a=1",
        "v3 aug.flip=true",
    ]
    assert names(run(settings={"x": "0", "loss.a": "1"}), run(settings={"x": "0"})) == ["v3 loss.a=1", "v3"]


def test_a_name_is_no_longer_than_it_takes_to_tell_recipes_apart():
    one, two = ({f"optim.k{i}": str(value) for i in range(6)} for value in (1, 2))
    assert names(run(settings=one), run(settings=two)) == ["v3 optim.k0=1", "v3 optim.k0=2"]
    typed = [run(settings=each, typed=each) for each in (one, two)]
    assert names(*typed)[0] == "v3 optim.k0=1 optim.k1=1 optim.k2=1 +3 more"


def test_the_length_is_in_a_name_where_nothing_else_differs():
    def sized(steps: str, rate: str) -> Run:
        typed = {"trainer.max_steps": steps, "optim.lr": rate}
        return run(settings={"pseudo_label.start_step": steps, "optim.warmup_steps": steps, **typed}, typed=typed)

    assert names(sized("250", "0.1"), sized("500", "0.2")) == ["v3 optim.lr=0.1", "v3 optim.lr=0.2"]
    assert names(sized("250", "0.1"), sized("500", "0.1")) == ["v3 trainer.max_steps=250", "v3 trainer.max_steps=500"]
    assert names(run(), sized("500", "0.1")) == ["v3", "v3 trainer.max_steps=500"]  # only what was typed
    assert names(sized("250", "0.1"), sized("500", "0.1"), sized("500", "0.2")) == [
        "v3 optim.lr=0.1 trainer.max_steps=250",
        "v3 optim.lr=0.1 trainer.max_steps=500",
        "v3 optim.lr=0.2",
    ]


def test_a_run_without_a_config_takes_no_name_and_no_baseline_from_those_that_have_one():
    known = [run(seed, 0.5, settings={"optim.lr": "0.1", "data.exclude_from_miou": "[0]"}) for seed in range(3)]
    known.append(run(0, 0.4, model="v1"))
    lost = [run(9, 0.9, settings={}, choices={"loss": "ce"}), run(8, 0.8, settings={}, model="v1")]
    (cohort,) = with_baseline(cohorts([*known, *lost]), "v3")
    assert {group.name: len(group.runs) for group in cohort.groups} == {
        "v3": 3, "v3, configuration unknown": 1, "v1": 1, "v1, configuration unknown": 1,
    }  # fmt: skip
    assert cohort.baseline is not None and (cohort.baseline.name, cohort.rivals) == ("v3", ())
    (chosen,) = baselines(cohort.groups, "v3, configuration unknown")
    assert chosen.seeds == ["9"]
    assert baselines(cohort.groups, None)[0].name == "v1"
    rates = [run(settings={"a": rate}, typed={"a": rate}) for rate in ("1", "2")]
    fitting = [group.name for group in baselines(group_runs([lost[0], *rates]), "v3")]
    assert sorted(fitting[:2]) == ["v3 a=1", "v3 a=2"] and fitting[2] == "v3, configuration unknown"
    best = group_runs([run(0, 0.9, settings={}), run(1, 0.5)])
    assert [group.name for group in baselines(best, None)] == ["v3"]


def test_a_float_in_a_name_has_six_digits_where_that_is_still_unlike_the_others():
    def rated(*rates: str) -> list[str]:
        return names(*(run(settings={"optim.lr": rate}, typed={"optim.lr": rate}) for rate in rates))

    assert rated("0.013000000000000001", "1.2999999999999999e-05", "0.00025", "7") == [
        "v3 optim.lr=0.013", "v3 optim.lr=1.3e-05", "v3 optim.lr=0.00025", "v3 optim.lr=7",
    ]  # fmt: skip
    alike = ["0.013000000000000001", "0.013"]
    assert rated(*alike) == [f"v3 optim.lr={rate}" for rate in alike]


def test_the_same_recipe_and_seed_twice_is_one_run(make_run, tmp_path):
    runs = [read_run(make_run(tmp_path / name, seed=seed)) for name, seed in [("a", 0), ("b", 0), ("c", 1)]]
    os.utime(tmp_path / "a" / "metrics.jsonl", (1, 1))
    os.utime(tmp_path / "b" / "metrics.jsonl", (9e8, 9e8))
    os.utime(tmp_path / "a" / "summary.json", (9e9, 9e9))  # as after `semiseg sync`
    kept, replaced = without_repeats(runs)
    assert [each.name for each in kept] == ["b", "c"] and [each.name for each in replaced] == ["a"]
    del runs[0].summary["eval_size"]  # of an older version
    assert without_repeats(runs) == (kept, replaced)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"data_fingerprint": "b"}, "other patches or another split; data.val_split=0.3 instead of 0.2"),
        ({"eval_size": [512, 512]}, "patches of 512x512 instead of 64x64 pixels in the evaluation"),
        ({"miou_leaves_out": []}, "mIoU leaves out no class instead of background"),
        ({"data_fingerprint": "b", "classes": ["x", "y"]}, "other classes; other patches or another split"),
        ({"data_fingerprint": None}, None),
    ],
)
def test_runs_that_cannot_be_compared_are_apart_with_the_reason(facts, reason):
    common = {"eval_size": [64, 64], "miou_leaves_out": ["background"], "classes": ["background", "y"]}
    main = [run(seed, settings={"data.val_split": "0.2"}, **common) for seed in (0, 1)]
    parted = cohorts([run(2, settings={"data.val_split": "0.3"}, **(common | facts)), *main])
    assert [(c.title, len(c.groups[0].runs)) for c in parted] == [("data 1", 2), ("data 2", 1)]
    assert "evaluated on patches of 64x64, mIoU without background." in parted[0].reason
    if reason is not None:
        assert f"Not compared with data 1: {reason}" in parted[1].reason


def test_comparable_runs_are_one_cohort_and_what_an_old_run_does_not_say_is_that_of_the_others():
    new = run(0, eval_size=[64, 64], miou_leaves_out=["background"])
    (cohort,) = cohorts([new, run(1)])
    assert (cohort.title, cohort.reason) == ("", "")
    assert cohort.groups[0].seeds == ["0", "1"]
    unknown = [run(2, eval_size=[32, 32], miou_leaves_out=["background"]), run(1)]
    assert len(cohorts([new, *unknown])) == 3


def test_an_unknown_fingerprint_says_so():
    old = run(0)
    summary = {key: value for key, value in old.summary.items() if key != "data_fingerprint"}
    parted = cohorts([run(0), run(1), Run(Path("old"), summary)])
    assert "do not say what data they used" in parted[1].reason


def test_the_baseline_is_v1_else_supervised_training_else_the_best():
    v3, v1, v1_lr = (
        run(model="v3", miou=0.6),
        run(model="v1", settings={"a": "1"}),
        run(model="v1", typed={"optim.lr": "0.1"}),
    )
    supervised = run(miou=0.4, settings={"b": "1"}, choices={"pseudo_label": "none"})
    groups = group_runs([v3, v1, v1_lr, supervised])
    assert [each.runs for each in baselines(groups, None)] == [(v1,)]
    assert [each.model for each in baselines([g for g in groups if g.name != "v1"], None)] == ["v1"]
    groups = group_runs([v3, supervised])
    assert [each.runs for each in baselines(groups, None)] == [(supervised,)]
    groups = group_runs([v3, run(miou=0.9, settings={"b": "2"})])
    assert baselines(groups, None) == [groups[0]]
    assert baselines([], None) == []


def test_a_baseline_is_found_by_model_name_folder_or_recipe_and_the_plainest_wins():
    plain = run(model="v3", miou=0.5, settings={"a": "1"}, typed={})
    changed = run(model="v3", miou=0.6, settings={"a": "1", "b": "2"}, typed={"b": "2"}, name="mine")
    groups = group_runs([plain, changed])
    assert [group.name for group in groups] == ["v3 b=2", "v3"]
    for word, model in [("v3", [plain]), ("mine", [changed]), ("v3 b=2", [changed]), ("v9", [])]:
        assert [found.runs[0] for found in baselines(groups, word)] == model


def test_a_word_that_fits_several_recipes_is_told_with_what_to_type():
    rates = [
        run(model="v1", settings={"lr": rate}, typed={"lr": rate}, miou=float(rate)) for rate in ("0.3", "0.2", "0.1")
    ]
    (cohort,) = with_baseline(cohorts([*rates, run(model="v3", miou=0.9)]), "v1")
    assert cohort.baseline is not None and cohort.baseline.name == "v1 lr=0.3"
    note = baseline_note(cohort)
    assert "fits 3 recipes and is v1 lr=0.3" in note
    assert """\"baseline='v1 lr=0.2'\"""" in note and note.endswith("the others are v1 lr=0.1.")
    (cohort,) = with_baseline([cohort], "v1 lr=0.1")
    assert cohort.baseline is not None and cohort.baseline.name == "v1 lr=0.1" and baseline_note(cohort) == ""


def test_an_unknown_baseline_names_the_known_ones():
    parted = cohorts([run(), run(model="v1")])
    with pytest.raises(SemisegError, match=r"baseline=v9 is none of the finished runs: give one of v1, v3"):
        with_baseline(parted, "v9")
    assert with_baseline([], "v9") == []


def test_the_difference_of_groups_is_drawn_over_sources_or_patches(make_run, tmp_path):
    def group(name: str, **facts) -> Group:
        return group_runs([read_run(make_run(tmp_path / f"{name}{s}", seed=s, **facts)) for s in range(2)])[0]

    better, worse = group("a", miou=0.7), group("b", miou=0.4)
    found = better.difference(worse)
    assert found is not None and (found.verdict, found.unit) == ("better", "source")
    means = [side.mean_sd("best_val_miou") for side in (better, worse)]
    assert means[0] and means[1] and found.mean == pytest.approx(means[0][0] - means[1][0])
    few = group("c", miou=0.4, patches=4, fingerprint="few")
    assert better.difference(few) is None
    assert (same := few.difference(few)) is not None and same.unit == "image"


def test_runs_without_matrices_have_no_difference(make_run, tmp_path):
    with_matrices, without = (group_runs([read_run(make_run(tmp_path / name))])[0] for name in "ab")
    (tmp_path / "b" / "confusion_best.npz").unlink()
    assert with_matrices.difference(without) is None and without.confusion() is None
    assert (matrix := with_matrices.confusion()) is not None and matrix.shape == (5, 5)


def test_excluded_classes_come_from_the_summary_or_the_config():
    assert excluded_classes(run(miou_leaves_out=["b", "c"], classes=["a", "b", "c"])) == [1, 2]
    assert excluded_classes(run(miou_leaves_out=["b"], colors={"a": [0, 0, 0], "b": [1, 1, 1]})) == [1]
    assert excluded_classes(run(settings={"data.exclude_from_miou": "[0,3]"})) == [0, 3]
    assert excluded_classes(run(settings={"data.exclude_from_miou": "[]"})) == []
