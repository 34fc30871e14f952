"""The pictures of the same patches: what marks an error, and whose patches are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import rc_context

from semiseg.report.collect import Run, find_runs
from semiseg.report.comparable import cohorts
from semiseg.report.drawing import STYLE, Picture
from semiseg.report.examples import (
    FALLBACK,
    NEUTRAL,
    PALE,
    SYSTEMS,
    TILE,
    WRONG,
    Patches,
    color_table,
    example_pictures,
    marked,
    read_patches,
    share_right,
)
from semiseg.report.group import Cohort, baselines

COLORS = np.zeros((256, 3), np.uint8)
COLORS[:3] = [(0, 0, 0), (0, 0, 250), (250, 0, 0)]
COLORS[255] = NEUTRAL


def cohort_of(root: Path) -> Cohort:
    (cohort,) = cohorts(find_runs(root).runs)
    return replace(cohort, baseline=baselines(cohort.groups, None)[0])


def drawn(root: Path) -> Picture:
    (picture,) = example_pictures(cohort_of(root))
    return picture


def texts(picture: Picture) -> list[str]:
    return [text.get_text().replace("\n", "") for text in picture.figure.axes[0].texts]


def replace_array(folder: Path, name: str, array: np.ndarray) -> None:
    """Write the examples of a run again with another array."""
    with np.load(folder / "examples.npz") as file:
        arrays: dict[str, Any] = dict(file)
    arrays[name] = array
    np.savez(folder / "examples.npz", **arrays)


def test_right_pixels_are_pale_wrong_ones_full_and_outlined_and_ignored_ones_neutral():
    truth = np.ones((TILE, TILE), np.uint8)
    truth[:20] = 255
    prediction = np.ones_like(truth)
    prediction[40:60, 40:60] = 2
    prediction[:10] = 2  # on ignored pixels
    picture = marked(truth, prediction, COLORS)
    pale = [round(channel * (1 - PALE) + 255 * PALE) for channel in (0, 0, 250)]
    assert np.abs(picture[100, 100].astype(int) - pale).max() <= 1
    assert picture[50, 50].tolist() == [250, 0, 0]  # in the colour of what was predicted
    outline = [picture[40, 50], picture[59, 50], picture[50, 40], picture[50, 59]]
    assert all(tuple(pixel.tolist()) == WRONG for pixel in outline)
    assert (picture[:20] == NEUTRAL).all()


@pytest.mark.parametrize("shape", [(64, 64), (64, 128), (300, 300)])
def test_a_tile_keeps_the_shape_of_its_patch(shape):
    mask = np.zeros(shape, np.uint8)
    assert marked(mask, mask, COLORS).shape == (TILE, TILE * shape[1] // shape[0], 3)


def test_the_share_of_right_pixels_leaves_out_ignored_ones():
    truth = np.array([[0, 1], [2, 255]], np.uint8)
    assert share_right(truth, np.array([[0, 1], [1, 0]], np.uint8)) == pytest.approx(2 / 3)
    assert np.isnan(share_right(np.full((2, 2), 255, np.uint8), truth))


def test_columns_are_image_truth_and_the_systems_and_every_prediction_has_its_share(make_run, tmp_path):
    for model in ("v1", "v3"):
        for seed in range(2):
            make_run(tmp_path / f"{model}-{seed}", model=model, seed=seed)
    shown = texts(drawn(tmp_path))
    assert shown[:4] == ["image", "truth", "v1", "v3"]
    expected = []
    for model in ("v1", "v3"):  # of the first seed
        with np.load(tmp_path / f"{model}-0" / "examples.npz") as file:
            valid = file["truth"] != 255
            right = [(t == p)[v].mean() for t, p, v in zip(file["truth"], file["prediction"], valid, strict=True)]
            expected.append([f"{share:.0%}" for share in right])
            names = file["names"].tolist()
    rows = [[name, one, two] for name, one, two in zip(names, *expected, strict=True)]
    assert shown[4:] == [text for row in rows for text in row]


def test_a_run_with_other_patches_is_left_out_by_name(make_run, tmp_path):
    for model in ("v1", "v2", "v3"):
        make_run(tmp_path / model, model=model)
    replace_array(tmp_path / "v2", "names", np.array([f"elsewhere {number}" for number in range(6)]))
    picture = drawn(tmp_path)
    assert texts(picture)[:4] == ["image", "truth", "v1", "v3"]
    assert "other patches: v2." in picture.caption


def test_runs_without_readable_examples_are_named(make_run, tmp_path):
    for model in ("v1", "v2", "v3"):
        make_run(tmp_path / model, model=model)
    (tmp_path / "v1" / "examples.npz").unlink()
    (tmp_path / "v2" / "examples.npz").write_bytes(b"PK\x03\x04 cut")
    picture = drawn(tmp_path)
    assert texts(picture)[:3] == ["image", "truth", "v3"]
    assert "Left out, without examples: v1." in picture.caption
    assert f"Left out, damaged: v2 ({(tmp_path / 'v2' / 'examples.npz').as_posix()})." in picture.caption


def test_long_headings_do_not_run_into_each_other(make_run, tmp_path):
    for rate in (0.001, 0.002, 0.003):
        words = {"pseudo_label": "discriminator_scheduled", "loss": "focal_dice", "optim.lr": rate}
        folder = make_run(tmp_path / str(rate), model="lightweight_original", overrides=words)
        typed = "".join(f"- {key}={value}\n" for key, value in words.items())
        (folder / ".hydra" / "overrides.yaml").write_text(typed, encoding="utf-8")
    picture = drawn(tmp_path)
    with rc_context(STYLE):
        picture.figure.draw_without_rendering()
        axes = picture.figure.axes[0]
        boxes = [text.get_window_extent() for text in axes.texts if text.get_fontweight() == "bold"]
    assert len(boxes) == 5
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    heads = [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"][2:]
    assert all(
        rate in head
        for rate, head in zip(("0.001", "0.002", "0.003"), sorted(heads, key=lambda h: h[-5:]), strict=True)
    )
    (title,) = picture.figure.texts
    assert max(box.y1 for box in boxes) < title.get_window_extent().y0


@pytest.mark.parametrize("patches", [2, 12])
@pytest.mark.parametrize("name", ["a", "DJI_0123_patch_000_001", "W" * 30 + "_" + "M" * 30])
def test_the_names_at_the_rows_are_whole(make_run, tmp_path, name, patches):
    folder = make_run(tmp_path / "a", patches=patches)
    replace_array(folder, "names", np.array([name] * min(6, patches)))
    picture = drawn(tmp_path)
    with rc_context(STYLE):
        picture.figure.draw_without_rendering()
        lefts = [text.get_window_extent().x0 for text in picture.figure.axes[0].texts]
    assert 0 < min(lefts) < 60  # neither cut off nor far from the edge


@pytest.mark.parametrize("key, value", [("truth", np.zeros((2, 3, 3), np.uint8)), ("names", np.array(["only one"]))])
def test_arrays_that_do_not_fit_together_count_as_missing(make_run, tmp_path, key, value):
    folder = make_run(tmp_path / "a")
    replace_array(folder, key, value)
    assert read_patches(folder) is None


def test_no_more_systems_than_fit_side_by_side(make_run, tmp_path):
    for number in range(SYSTEMS + 3):
        make_run(tmp_path / str(number), miou=0.3 + 0.03 * number, overrides={"optim.lr": number})
    picture = drawn(tmp_path)
    assert len([text for text in texts(picture) if "optim.lr" in text]) == SYSTEMS
    assert f"best {SYSTEMS - 1} of {SYSTEMS + 3}" in picture.caption


def test_colours_are_those_of_the_data_set_or_a_palette(make_run: Callable[..., Path], tmp_path):
    patches = read_patches(make_run(tmp_path / "a"))
    assert isinstance(patches, Patches)
    table = color_table(Run(tmp_path, {"colors": {"a": [1, 2, 3], "b": [4, 5, 6]}}))
    assert table[:2].tolist() == [[1, 2, 3], [4, 5, 6]] and tuple(table[255].tolist()) == NEUTRAL
    without = color_table(Run(tmp_path, {}))
    assert [tuple(color) for color in without[:3].tolist()] == list(FALLBACK[:3])
    assert tuple(without[255].tolist()) == NEUTRAL
