import numpy as np

from semiseg.data.demo.canvas import GRASS, SALAK, SOIL, TREE, Canvas, Sprite, rgb, shade


def block(height: float, size: int = 4, color: float = 0.5) -> Sprite:
    shape = (size, size)
    inside = np.ones(shape, bool)
    return Sprite(np.full((*shape, 3), color, np.float32), np.full(shape, height, np.float32), inside, inside)


def test_the_higher_object_covers_the_lower_whatever_the_order() -> None:
    for order in ((0, 1), (1, 0)):
        canvas = Canvas.empty((10, 10), 1.0)
        objects = [(block(3.0), TREE), (block(1.0, size=8), SALAK)]
        for i in order:
            canvas.stamp(5, 5, *objects[i])
        assert (canvas.ids[3:7, 3:7] == TREE).all()
        assert canvas.ids[1, 1] == SALAK
        assert canvas.ids[0, 0] == GRASS


def test_gaps_belong_to_the_outline_but_show_the_ground() -> None:
    canvas = Canvas.empty((4, 4), 1.0)
    sprite = block(1.0)
    sprite.drawn = sprite.drawn.copy()
    sprite.drawn[2, 2] = False
    canvas.stamp(2, 2, sprite, TREE)
    assert canvas.ids[2, 2] == TREE
    assert canvas.albedo[2, 2].max() == 0
    assert canvas.albedo[1, 1].max() == 0.5


def test_sprites_are_cut_at_the_border() -> None:
    canvas = Canvas.empty((10, 10), 1.0)
    canvas.stamp(0, 9, block(1.0), TREE)
    canvas.stamp(50, 50, block(1.0), TREE)
    assert (canvas.ids == TREE).sum() == 2 * 3
    assert (canvas.ids[7:, :2] == TREE).all()


def test_blend_mixes_colours_and_sets_the_class_of_the_majority() -> None:
    canvas = Canvas.empty((1, 3), 1.0)
    canvas.blend(np.array([[0, 0.4, 0.6]], np.float32), rgb(255, 0, 255), SOIL)
    np.testing.assert_allclose(canvas.albedo[0, :, 0], [0, 0.4, 0.6], atol=1e-4)
    np.testing.assert_allclose(canvas.albedo[0, :, 1], 0, atol=1e-4)
    assert canvas.ids.tolist() == [[GRASS, GRASS, SOIL]]


def test_supersampling_doubles_pixels_and_keeps_metres() -> None:
    canvas = Canvas.empty((4, 6), 10.0)
    canvas.ids[1, 2] = SOIL
    large = canvas.supersampled()
    assert large.shape == (8, 12)
    assert large.scale == 20
    assert (large.ids[2:4, 4:6] == SOIL).all()
    assert (large.ids == SOIL).sum() == 4


def test_shade_is_the_outer_product() -> None:
    tone = np.random.default_rng(0).random((3, 5), np.float32)
    color = rgb(10, 100, 200)
    np.testing.assert_allclose(shade(color, tone), tone[..., None] * color, rtol=1e-6)
