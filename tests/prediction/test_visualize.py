from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf

from semiseg.data.classes import ClassMap
from semiseg.prediction.images import Picture
from semiseg.prediction.inputs import Item
from semiseg.prediction.planes import Held
from semiseg.prediction.reading import Job
from semiseg.prediction.tiling import lay_out
from semiseg.prediction.visualize import draw_explanation, explain_job, heat, kept_pixels, marked, thresholds_of

MAPPING = ClassMap(("soil", "palm"), ((120, 80, 40), (20, 160, 20)))


@pytest.mark.parametrize(
    ("labeler", "data", "expected"),
    [
        ({"class_thresholds": {"soil": None, "palm": 0.6}}, None, [np.inf, 0.6]),
        ({"class_thresholds": None, "threshold": 0.8}, None, [0.8, 0.8]),
        ({"threshold": 0.2}, {"soil": 0.5, "palm": 0.7}, [0.5, 0.7]),  # a discriminator's score is none of a pixel
        ({}, {"water": 0.5}, [0.65, 0.65]),
    ],
)
def test_the_thresholds_are_those_of_the_run(labeler, data, expected):
    config = OmegaConf.create({"pseudo_label": labeler, "data": {"class_thresholds": data}})
    assert thresholds_of(config, MAPPING.names) == expected


def test_kept_are_the_pixels_above_the_threshold_of_their_class():
    classes = np.array([[0, 0, 1, 1, 255]], dtype=np.uint8)
    percent = np.array([[59, 60, 99, 100, 255]], dtype=np.uint8)
    assert kept_pixels(classes, percent, [0.6, np.inf]).tolist() == [[False, True, False, False, False]]


def test_a_threshold_is_reached_by_its_own_percent():
    """0.55 * 100 is 55.00000000000001."""
    thresholds = [n / 100 for n in range(1, 101)]
    percent = np.arange(1, 101, dtype=np.uint8)[None]
    assert kept_pixels(np.arange(100, dtype=np.uint8)[None], percent, thresholds).all()


def test_marks_and_heat_are_drawn_where_they_belong():
    image = np.zeros((2, 3, 3), dtype=np.uint8)
    where = np.array([[True, False, False], [False, False, True]])
    drawn = marked(image, where, np.array([220, 30, 30], dtype=np.uint8))
    assert (drawn[where] == [220, 30, 30]).all() and (drawn[~where] == drawn[0, 1, 0]).all()
    warm = heat(np.array([[0, 100, 255]], dtype=np.uint8))
    assert warm[0, 0].sum() < warm[0, 1].sum() and (warm[0, 2] == 255).all()


def test_panels_of_the_truth_only_where_there_is_one():
    image = np.full((40, 160, 3), 90, dtype=np.uint8)
    classes, percent = np.zeros((40, 160), dtype=np.uint8), np.full((40, 160), 70, dtype=np.uint8)
    alone = draw_explanation(image, None, classes, percent, MAPPING, [0.6, 0.6])
    truth = np.zeros((40, 160), dtype=np.uint8)
    truth[:20] = 1
    both = draw_explanation(image, truth, classes, percent, MAPPING, [0.6, 0.6])
    assert both.width / alone.width == pytest.approx(6 / 4, abs=0.03)
    pixels = np.asarray(both)
    red = (pixels == [220, 30, 30]).all(axis=-1)
    assert red.sum() == 20 * 160  # the error: the upper half


@pytest.mark.parametrize(("value", "said"), [(1, None), (9, "9")])
def test_an_image_is_drawn_without_a_truth_that_cannot_be_read(tmp_path: Path, value: int, said: str | None):
    classes = ClassMap(("soil", "palm"), ((120, 80, 40), (20, 160, 20)))
    cv2.imwrite(str(tmp_path / "mask.png"), np.full((40, 40), value, dtype=np.uint8))
    planes = Held(40, 40)
    planes.write(0, np.zeros((2, 40, 40), dtype=np.uint8))
    side = lay_out(40, 64, 16)
    item = Item("a", tmp_path / "a.png", tmp_path / "mask.png")
    job = Job(item, Picture(np.zeros((40, 40, 3), dtype=np.uint8)), side, side, planes=planes)
    problem = explain_job(tmp_path / "drawn.png", job, classes, [0.5, 0.5])
    assert (tmp_path / "drawn.png").is_file()
    assert problem is None if said is None else said in str(problem) and "mask.png" in str(problem)
