import numpy as np

from semiseg.data.demo.canvas import rgb
from semiseg.data.demo.crowns import PalmShape, broadleaf, outline, palm

SHAPE = PalmShape(radius=3.0, trunk=4.0, fronds=24, leaflet=0.5, arch=0.4, dead=0.1)


def test_a_palm_is_a_star_and_not_a_disc() -> None:
    sprite = palm(np.random.default_rng(0), SHAPE, scale=20).tinted(rgb(80, 100, 50), rgb(150, 120, 80))
    rows, columns = np.nonzero(sprite.covered)
    reach = np.hypot(rows - sprite.covered.shape[0] / 2, columns - sprite.covered.shape[1] / 2).max() / 20
    assert 2.5 < reach < 4
    assert 0.35 < sprite.covered.sum() / (np.pi * (20 * reach) ** 2) < 0.85
    assert (sprite.covered | ~sprite.drawn).all()
    assert 3 < sprite.height[sprite.drawn].mean() < 6


def test_turning_keeps_the_area_and_scales_heights() -> None:
    crown = palm(np.random.default_rng(1), SHAPE, scale=20)
    turned = crown.turned(1.0, 0.5)
    area, small = (float((c.layers[..., 3] > 0).sum()) for c in (crown, turned))
    assert abs(small / area - 0.25) < 0.02
    assert abs(turned.layers[..., 0].max() / crown.layers[..., 0].max() - 0.5) < 0.01


def test_broadleaf_crown_is_solid_and_domed() -> None:
    crown = broadleaf(np.random.default_rng(2), radius=2.0, trunk=3.0, scale=20)
    height = crown.layers[..., 0]
    center = height.shape[0] // 2
    assert height[center, center] > 4
    assert 0.6 < (height > 0).sum() / (np.pi * 40**2) < 1.4


def test_outline_closes_small_gaps_only() -> None:
    drawn = np.ones((30, 30), bool)
    drawn[5, 5] = False
    drawn[12:24, 12:24] = False
    closed = outline(drawn, gap=3)
    assert closed[5, 5]
    assert not closed[18, 18]
