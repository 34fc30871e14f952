import io
from pathlib import Path

from rich.console import Console

from semiseg.report.collect import Group, Run
from semiseg.report.table import Cells, comparison_tables, recipes


def group(model: str, *mious: float, loss: str = "ce", lr: str = "0.1", **facts) -> Group:
    summary = {"model": model, "choices": {"model": model, "loss": loss}, **facts}
    runs = [
        Run(Path(f"{model}{i}"), {**summary, "seed": i, "best_val_miou": m}, {"lr": lr}) for i, m in enumerate(mious)
    ]
    return Group(tuple(runs))


def test_recipes_are_told_apart_by_what_differs():
    groups = [group("v3", 0.6, lr="0.1"), group("v3", 0.5, lr="0.2"), group("v3", 0.4, loss="focal", lr="0.3")]
    assert recipes(groups) == ["v3 loss=ce lr=0.1", "v3 loss=ce lr=0.2", "v3 loss=focal lr=0.3"]
    assert recipes([group("v1", 0.5, lr="0.1"), group("v2", 0.5, lr="0.2")]) == ["v1", "v2"]


def with_settings(pseudo_label: str, **settings: str) -> Group:
    summary = {"model": "v3", "choices": {"pseudo_label": pseudo_label}}
    return Group((Run(Path("a"), summary, {key.replace("__", "."): value for key, value in settings.items()}),))


def test_settings_of_another_choice_are_no_part_of_a_recipe():
    softmax = with_settings("softmax", pseudo_label__threshold="0.65", trainer__max_steps="10")
    none = with_settings("none", pseudo_label__weight="1.0", trainer__max_steps="20")
    assert recipes([softmax, none]) == [
        "v3 pseudo_label=softmax trainer.max_steps=10",
        "v3 pseudo_label=none trainer.max_steps=20",
    ]


def test_a_setting_that_one_recipe_lacks_is_shown_where_nothing_else_differs():
    assert recipes([with_settings("none", loss__a="1"), with_settings("none")]) == ["v3 loss.a=1", "v3"]


def test_many_differing_settings_are_counted():
    one, two = ({f"optim__k{i}": str(value) for i in range(6)} for value in (1, 2))
    texts = recipes([with_settings("none", **one), with_settings("none", **two)])
    assert texts[0] == "v3 optim.k0=1 optim.k1=1 optim.k2=1 optim.k3=1 +2 more"


def test_scores_are_means_over_seeds_and_differences_to_the_baseline():
    best, base = group("v3", 0.6, 0.7), group("v1", 0.5)
    (scores,) = comparison_tables([best, base], base)
    assert scores.header == ["recipe", "seeds", "best val mIoU", "vs baseline"]
    assert scores.rows == [["v3", "0, 1", "0.6500 ± 0.0707", "+0.1500"], ["v1", "0", "0.5000", "baseline"]]


def test_tables_hold_the_facts_that_some_run_has():
    with_labels = group("v3", 0.6, st_pixels=34821.0, parameters=26682725, class_iou={"Jalan": 0.5, "Badan Air": None})
    scores, labels, cost, classes = comparison_tables([with_labels, group("v0", 0.5)], None)
    assert [row[1] for row in labels.rows] == ["34,821", ""] and labels.header[1:] == ["ST pixels"]
    assert [row[1] for row in cost.rows] == ["26,682,725", ""]
    assert classes.header == ["recipe", "Jalan", "Badan Air"]
    assert classes.rows == [["v3", "0.5000", "absent"], ["v0", "absent", "absent"]]
    assert "vs baseline" not in scores.header


def test_the_same_cells_in_markdown_and_in_the_terminal():
    cells = Cells("Scores", ["recipe", "a|b"], [["v3 [x]", "1"]])
    assert cells.markdown() == "## Scores\n\n| recipe | a\\|b |\n| --- | --- |\n| v3 [x] | 1 |\n"
    out = io.StringIO()
    Console(file=out, width=80).print(cells.rich())
    assert all(text in out.getvalue() for text in ("Scores", "a|b", "v3 [x]"))
