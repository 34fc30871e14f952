"""What the figures show, held against numbers computed from the run folders in another way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from semiseg.report.collect import find_runs
from semiseg.report.comparable import cohorts
from semiseg.report.curves import POINTS, score_curves, thinned, training_curves
from semiseg.report.drawing import LABEL, SHOWN, label, looks, wrapped
from semiseg.report.figures import Picture, class_bars, confusion_matrices, pictures, save
from semiseg.report.gains import gains, ladder, rung_names
from semiseg.report.group import Cohort, Group, baselines
from semiseg.report.history import Curve
from semiseg.report.tradeoffs import Point, pareto_front, tradeoff_pictures

MakeRun = Callable[..., Path]


def cohort_of(root: Path) -> Cohort:
    (cohort,) = cohorts(find_runs(root).runs)
    return replace(cohort, baseline=baselines(cohort.groups, None)[0])


@pytest.fixture
def systems(make_run: MakeRun, tmp_path: Path) -> Cohort:
    """V1 and V3, two seeds each."""
    for model, miou in (("v1", 0.4), ("v3", 0.55)):
        for seed in range(2):
            make_run(tmp_path / "runs" / f"{model}-{seed}", model=model, seed=seed, miou=miou + 0.02 * seed)
    return cohort_of(tmp_path / "runs")


def logged(group: Group, key: str) -> list[dict[int, float]]:
    """Step -> value of each seed, read without the project's code."""
    found = []
    for run in group.runs:
        lines = (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        found.append({line["step"]: line[key] for line in map(json.loads, lines) if key in line})
    return found


def texts(picture: Picture) -> list[str]:
    return [text.get_text() for axes in picture.figure.axes for text in axes.texts]


def test_every_figure_is_there_once_with_a_title_and_a_caption(systems):
    drawn = list(pictures(systems))
    names = [picture.name for picture in drawn]
    assert {
        "gain", "curve_val_miou", "curve_train_miou", "curve_gap", "class_iou", "confusion", "examples",
        "pareto_parameters", "pareto_gflops", "pareto_train_seconds", "curve_loss_ce", "curve_loss_discriminator",
        "curve_st_coverage", "curve_st_precision", "curve_lr_student", "curve_pseudo_label_threshold",
    } <= set(names)  # fmt: skip
    assert "ladder" not in names and len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9_-]+", name) for name in names)
    assert all(picture.title and picture.caption for picture in drawn)


def test_a_picture_becomes_a_png_and_an_svg_and_the_same_one_the_same_bytes(systems, tmp_path):
    before = dict(matplotlib.rcParams)
    written = [[save(p, tmp_path / name) for p in score_curves(systems)] for name in ("a", "b")]
    assert dict(matplotlib.rcParams) == before
    for (png, svg), (again_png, again_svg) in zip(*written, strict=True):
        with Image.open(png) as image:
            image.load()
            assert image.width == 682  # 6.2 inches at 110 dpi
        assert svg.read_text(encoding="utf-8").rstrip().endswith("</svg>")
        assert png.read_bytes() == again_png.read_bytes() and svg.read_bytes() == again_svg.read_bytes()


def test_a_curve_is_the_mean_over_seeds_and_its_band_goes_from_the_lowest_to_the_highest(systems):
    picture = next(score_curves(systems))
    (axes,) = picture.figure.axes
    for group, line, band in zip(looks(systems), axes.lines, axes.collections, strict=True):
        seeds = logged(group, "val/miou")
        steps = sorted(seeds[0])
        table = np.array([[seed[step] for step in steps] for seed in seeds])
        assert np.array_equal(np.asarray(line.get_xdata()), steps)
        assert np.allclose(np.asarray(line.get_ydata()), table.mean(0))
        edges = np.asarray(band.get_paths()[0].vertices)
        for step, values in zip(steps, table.T, strict=True):
            y = edges[edges[:, 0] == step, 1]
            assert y.min() == pytest.approx(values.min()) and y.max() == pytest.approx(values.max())


def test_one_seed_has_a_line_without_a_band(make_run, tmp_path):
    make_run(tmp_path / "runs" / "only")
    for picture in (*score_curves(cohort := cohort_of(tmp_path / "runs")), *training_curves(cohort)):
        (axes,) = picture.figure.axes
        assert len(axes.collections) == 0 and "band" not in picture.caption


def test_many_points_are_averaged_and_the_last_few_are_not_lost():
    steps = np.arange(1, 8)
    curve = thinned(Curve(steps, steps * 2.0, steps - 1.0, steps + 1.0), 3)
    assert curve.steps.tolist() == [2, 5, 7] and curve.mean.tolist() == [4, 10, 14]
    assert curve.low.tolist() == [1, 4, 6] and curve.high.tolist() == [3, 6, 8]


def test_a_long_history_stays_a_small_figure_and_the_caption_says_how(make_run, tmp_path):
    make_run(tmp_path / "runs" / "long", steps=10_000, evaluations=400)
    picture = next(p for p in training_curves(cohort_of(tmp_path / "runs")) if p.name == "curve_loss_ce")
    assert POINTS / 2 < len(np.asarray(picture.figure.axes[0].lines[0].get_xdata())) <= POINTS
    assert "Means of 9 logged values each." in picture.caption  # of 2,000


def test_a_group_has_one_colour_in_all_figures(systems):
    style = looks(systems)
    assert len({look.color for look in style.values()}) == 2
    for part in (score_curves, class_bars, gains, tradeoff_pictures):
        for picture in part(systems):
            (axes,) = picture.figure.axes
            shown = {to_hex(line.get_color()).upper() for line in axes.lines}
            shown |= {to_hex(patch.get_facecolor()).upper() for patch in axes.patches}
            wanted = [group for group in style if part is not gains or group is not systems.baseline]
            assert {style[group].color.upper() for group in wanted} <= shown, picture.name


def test_class_bars_are_means_over_seeds_beside_the_class_names(systems):
    (picture,) = class_bars(systems)
    (axes,) = picture.figure.axes
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == systems.groups[0].runs[0].classes
    widths = iter([patch.get_width() for patch in axes.patches])  # type: ignore[union-attr]
    for group in looks(systems):
        for name in names:
            values = [float(str(run.class_iou[name])) for run in group.runs]
            assert next(widths) == pytest.approx(np.mean(values))
    swatches = {to_hex(line.get_color()) for line in axes.lines if line.get_marker() == "s"}
    assert {"#0000ff", "#80ff00"} <= swatches  # of Badan Air and Snake Fruit


def test_confusion_is_in_per_cent_of_the_true_class(systems):
    (picture,) = confusion_matrices(systems)
    for panel, group in zip(picture.figure.axes, looks(systems), strict=True):
        total: Any = sum(np.load(run.folder / "confusion_best.npz")["val"].sum(0) for run in group.runs)
        expected = [f"{100 * cell / row.sum():.0f}" for row in total for cell in row]
        assert [text.get_text() for text in panel.texts] == expected


def test_a_class_without_truth_has_an_empty_row(make_run, tmp_path):
    folder = make_run(tmp_path / "runs" / "a")
    with np.load(folder / "confusion_best.npz") as file:
        matrices, source = file["val"].copy(), file["source"]
    matrices[:, 2] = 0
    np.savez(folder / "confusion_best.npz", val=matrices, source=source)
    (picture,) = confusion_matrices(cohort_of(tmp_path / "runs"))
    cells = np.array(texts(picture)).reshape(5, 5)
    assert (cells[2] == "").all() and (cells[[0, 1, 3, 4]] != "").all()


def test_gains_are_the_differences_to_the_baseline_with_their_intervals(systems):
    (picture,) = gains(systems)
    base, other = systems.baseline, next(g for g in systems.groups if g.model == "v3")
    assert base is not None and base.model == "v1"
    found = other.difference(base)
    assert found is not None
    interval, mean = picture.figure.axes[0].lines[:2]
    assert np.asarray(interval.get_xdata()).tolist() == [found.low, found.high]
    assert np.asarray(mean.get_xdata()).tolist() == [found.mean]
    assert texts(picture) == [f"{found.text()}\n{found.verdict}"]


def test_what_is_not_told_apart_is_hollow(make_run, tmp_path):
    make_run(tmp_path / "runs" / "a", model="v1", miou=0.4)
    make_run(tmp_path / "runs" / "b", model="v3", miou=0.6)  # one seed each
    (picture,) = gains(cohort_of(tmp_path / "runs"))
    mean = picture.figure.axes[0].lines[1]
    assert mean.get_markerfacecolor() != mean.get_markeredgecolor() and "too few seeds" in texts(picture)[0]


def test_the_ladder_goes_from_rung_to_rung_in_their_order(make_run, tmp_path):
    rungs = ("0_v1", "1_architecture", "2_loss", "10_schedule")
    for number, rung in enumerate(rungs):
        for seed in range(2):
            overrides = {"experiment": f"ladder/{rung}", "optim.lr": 0.1 * (number + 1)}
            make_run(tmp_path / "runs" / f"{rung}-{seed}", seed=seed, miou=0.4 + 0.02 * number, overrides=overrides)
    make_run(tmp_path / "runs" / "other", model="lightweight")
    cohort = cohort_of(tmp_path / "runs")
    (picture,) = ladder(cohort)
    scores, gained = picture.figure.axes
    shown = [text.get_text().replace("\n", " ") for text in scores.get_yticklabels()]
    assert [re.sub(r" optim.*", "", name) for name in shown] == ["0 v1", "1 architecture", "2 loss", "10 schedule"]
    ordered = [next(g for g in cohort.groups if g.experiment == f"ladder/{rung}") for rung in rungs]
    differences = [after.difference(before) for before, after in pairwise(ordered)]
    assert [text.get_text() for text in gained.texts] == [f"{d.text()}\n{d.verdict}" for d in differences if d]
    assert len(gained.texts) == 3


def test_rungs_are_named_without_what_all_of_them_have():
    names = "ladder/0_v1 model.encoder=resnet18", "ladder/5_class_thresholds model.encoder=resnet18 a=1"
    assert rung_names([Group((), name) for name in names]) == ["0 v1", "5 class_thresholds a=1"]


def points(*pairs: tuple[float, float]) -> list[Point]:
    return [Point(Group(()), cost, miou, 0.0) for cost, miou in pairs]


def shape(front: Sequence[Point]) -> list[tuple[float, float]]:
    return [(point.cost, point.miou) for point in front]


def test_the_front_holds_what_nothing_beats_in_both():
    front = pareto_front(points((3, 0.5), (1, 0.4), (2, 0.6), (2, 0.5), (4, 0.6), (5, 0.7)))
    assert shape(front) == [(1, 0.4), (2, 0.6), (5, 0.7)]
    drawn = np.random.default_rng(0).integers(0, 12, (60, 2)) / 10 + 0.1
    some = points(*map(tuple, drawn))

    def beaten(p: Point) -> bool:
        return any(q.cost <= p.cost and q.miou >= p.miou and (q.cost, q.miou) != (p.cost, p.miou) for q in some)

    assert shape(pareto_front(some)) == sorted({(p.cost, p.miou) for p in some if not beaten(p)})


def test_trade_offs_name_the_front_and_need_two_different_costs(systems):
    by_name = {picture.name: picture for picture in tradeoff_pictures(systems)}
    assert "from the cheapest: 1 v3." in by_name["pareto_parameters"].caption
    alone = replace(systems, groups=systems.groups[:1])
    assert list(tradeoff_pictures(alone)) == []


def test_the_latency_is_a_cost_where_runs_know_it(make_run, tmp_path):
    for model, latency in (("v1", 20.0), ("v3", 9.0)):
        make_run(tmp_path / "runs" / model, model=model, summary={"latency_ms": latency})
    by_name = {picture.name: picture for picture in tradeoff_pictures(cohort_of(tmp_path / "runs"))}
    axes = by_name["pareto_latency_ms"].figure.axes[0]
    assert axes.get_xlabel() == "milliseconds for one image, forward"
    assert "time in training steps" in by_name["pareto_train_seconds"].title


def test_of_many_recipes_the_best_and_the_baseline_are_shown(make_run, tmp_path):
    for number in range(SHOWN + 5):
        model = "v1" if number == 0 else "v3"
        make_run(tmp_path / "runs" / str(number), model=model, miou=0.3 + 0.02 * number, overrides={"optim.lr": number})
    cohort = cohort_of(tmp_path / "runs")
    picture = next(score_curves(cohort))
    assert len(picture.figure.axes[0].lines) == SHOWN
    assert f"best {SHOWN - 1} of {SHOWN + 5} recipes" in picture.caption
    (legend,) = picture.figure.legends
    assert legend.get_texts()[0].get_text() == "v1"
    lines = {(line.get_color(), line.get_linestyle()) for line in picture.figure.axes[0].lines}
    assert len(lines) == SHOWN  # colours return with other dashes
    trade = next(tradeoff_pictures(cohort))
    assert "5 other recipes" in [text.get_text() for text in trade.figure.legends[0].get_texts()]


def test_names_are_text_and_no_markup(make_run, tmp_path):
    make_run(tmp_path / "runs" / "a", model="$x^2$ <script>alert(1)</script>")
    pictures = list(score_curves(cohort_of(tmp_path / "runs")))
    assert pictures
    for picture in pictures:
        _, svg = save(picture, tmp_path)
        text = svg.read_text(encoding="utf-8")
        assert "<script" not in text and "$x^2$ &lt;script&gt;alert(1)" in text


def test_a_long_name_keeps_its_ends():
    name = "v3 " + "x" * 100 + " optim.lr=0.1"
    assert len(label(name)) <= LABEL and label(name) == "v3 … lr=0.1"
    assert (
        label("v3 optim.lr=0.1 optim.weight_decay=0.0001 loss.dice_weight=0.4")
        == "v3 … weight_decay=0.0001 dice_weight=0.4"
    )
    assert label("x" * 50 + "y" * 50) == "x" * 19 + "…" + "y" * 19
    assert label("v3") == "v3"


@pytest.mark.parametrize("width, lines", [(16, 3), (9, 3), (40, 2), (24, 3)])
def test_a_long_name_is_wrapped_where_its_parts_end(width, lines):
    name = "lightweight_original pseudo_label=discriminator_scheduled optim.schedule=polynomial optim.lr=0.003"
    rows = wrapped(name, width, lines).splitlines()
    assert len(rows) <= lines and max(map(len, rows)) <= width
    assert rows[0].startswith("light") and rows[-1].endswith("0.003")
    assert wrapped("v3 optim.lr=0.1", width, lines).replace("\n", "").replace(" ", "") in ("v3optim.lr=0.1", "v3lr=0.1")
    assert wrapped("ladder/3_pseudo_label", 12) == "ladder/3_\npseudo_label"


@pytest.mark.parametrize("lost", ["metrics.jsonl", "confusion_best.npz", "examples.npz"])
def test_what_a_run_lacks_is_left_out(make_run, tmp_path, lost):
    kinds = {"metrics.jsonl": "curve_", "confusion_best.npz": "confusion", "examples.npz": "examples"}
    make_run(tmp_path / "runs" / "a")
    (tmp_path / "runs" / "a" / lost).unlink()
    names = [picture.name for picture in pictures(cohort_of(tmp_path / "runs"))]
    assert names and not any(name.startswith(kinds[lost]) for name in names)


def test_a_run_of_an_older_version_has_the_figures_it_can(make_run, tmp_path):
    missing = dict.fromkeys(("colors", "classes", "gflops", "eval_size", "images_per_s", "sweep", "miou_leaves_out"))
    folder = make_run(tmp_path / "runs" / "old", summary=missing)
    with np.load(folder / "confusion_best.npz") as file:
        matrices = file["val"]
    np.savez(folder / "confusion_best.npz", val=matrices)  # without `source`
    names = {picture.name for picture in pictures(cohort_of(tmp_path / "runs"))}
    assert {"class_iou", "confusion", "examples", "curve_val_miou"} <= names


def test_null_values_and_a_cut_line_leave_a_gap(make_run, tmp_path):
    folder = make_run(tmp_path / "runs" / "a")
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[0] = re.sub(r'"loss/ce": [\d.e-]+', '"loss/ce": null', lines[0])
    path.write_text("\n".join([*lines, '{"step": 999, "loss/c']), encoding="utf-8")
    drawn = {picture.name: picture for picture in training_curves(cohort_of(tmp_path / "runs"))}
    kept = np.asarray(drawn["curve_loss_ce"].figure.axes[0].lines[0].get_ydata())
    whole = np.asarray(drawn["curve_loss_total"].figure.axes[0].lines[0].get_ydata())
    assert len(kept) == len(whole) - 1 and np.isfinite(kept).all()


def test_a_summary_alone_and_nothing_at_all_are_no_failure(tmp_path):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "summary.json").write_text('{"status": "finished", "model": "v1"}', encoding="utf-8")
    assert list(pictures(cohort_of(tmp_path / "runs"))) == []
    assert list(pictures(Cohort("", "", ()))) == []
