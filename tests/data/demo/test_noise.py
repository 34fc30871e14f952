import numpy as np
import pytest

from semiseg.data.demo.noise import fractal, smooth_noise, smoothstep


@pytest.mark.parametrize("cell", [2.5, 12.0, 40.0, (6.0, 30.0)])
def test_noise_fills_the_shape_in_float32(cell: float | tuple[float, float]) -> None:
    noise = smooth_noise(np.random.default_rng(0), (70, 90), cell)
    assert noise.shape == (70, 90)
    assert noise.dtype == np.float32


@pytest.mark.parametrize("cell", [4.0, 32.0])
def test_features_are_as_large_as_the_cell(cell: float) -> None:
    noise = smooth_noise(np.random.default_rng(1), (512, 512), cell)
    near = np.corrcoef(noise[:, : -int(cell / 4)].ravel(), noise[:, int(cell / 4) :].ravel())[0, 1]
    far = np.corrcoef(noise[:, : -int(3 * cell)].ravel(), noise[:, int(3 * cell) :].ravel())[0, 1]
    assert near > 0.7
    assert abs(far) < 0.3


def test_fractal_has_about_unit_variance() -> None:
    noise = fractal(np.random.default_rng(2), (256, 256), 20)
    assert abs(float(noise.mean())) < 0.2
    assert 0.7 < float(noise.std()) < 1.3


def test_smoothstep_rises_or_falls() -> None:
    x = np.array([-1, 0, 0.5, 1, 2], np.float32)
    np.testing.assert_allclose(smoothstep(0, 1, x), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(smoothstep(1, 0, x), [1, 1, 0.5, 0, 0])
