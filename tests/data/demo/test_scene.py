import cv2
import numpy as np
import pytest

from semiseg.data.demo.canvas import BUILDING, ROAD, SALAK, SOIL, TREE, WATER
from semiseg.data.demo.scene import Scene, draw_scene

SHAPE = (384, 512)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return draw_scene((0, 2), (512, 768), water=True, farm=True)


def test_every_class_is_there_and_none_besides(scene: Scene) -> None:
    assert scene.image.shape == (512, 768, 3)
    share = np.bincount(scene.mask.ravel(), minlength=7) / scene.mask.size
    assert len(share) == 7
    assert share.min() > 0.005
    assert share[[SALAK, TREE, SOIL]].sum() > 0.25


def test_same_seed_same_scene() -> None:
    first, second, other = (draw_scene((7, n), SHAPE, water=True, farm=False) for n in (1, 1, 2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.mask, second.mask)
    assert (first.mask != other.mask).mean() > 0.2


@pytest.mark.parametrize("number", range(3))
def test_water_and_buildings_are_where_asked_for(number: int) -> None:
    with_both, with_none = (set(np.unique(draw_scene((3, number), SHAPE, w, w).mask)) for w in (True, False))
    assert {WATER, BUILDING, ROAD} <= with_both
    assert not {WATER, BUILDING} & with_none


def test_image_edges_follow_roofs(scene: Scene) -> None:
    gray = cv2.cvtColor(scene.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    edges = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
    roof = (scene.mask == BUILDING).astype(np.uint8)
    border = cv2.morphologyEx(roof, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    inside = cv2.erode(roof, np.ones((9, 9), np.uint8)) > 0
    assert edges[border].mean() > 1.5 * edges[inside].mean()


def test_colour_alone_does_not_separate_the_plants(scene: Scene) -> None:
    colors = scene.image.reshape(-1, 3).astype(np.float32)
    ids = scene.mask.ravel()
    gap = np.abs(colors[ids == TREE].mean(axis=0) - colors[ids == SALAK].mean(axis=0))
    spread = colors[(ids == TREE) | (ids == SALAK)].std(axis=0)
    assert (gap < spread).all()
