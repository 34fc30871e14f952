"""Every file in conf/aug builds the augmentation it describes and makes a sample."""

from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

CONF = Path(__file__).parents[2] / "conf" / "aug"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))


def test_all_choices_are_there():
    assert NAMES == ["basic", "enhanced", "multiscale", "none", "resize"]


@pytest.mark.parametrize("name", NAMES)
def test_choice_builds_and_makes_samples(name):
    augment = instantiate(OmegaConf.load(CONF / f"{name}.yaml"))
    rng = np.random.default_rng(0)
    image = rng.integers(256, size=(64, 64, 3), dtype=np.uint8)
    mask = rng.integers(7, size=(64, 64), dtype=np.uint8)
    for _ in range(10):
        out_image, out_mask = augment(image, mask, rng, 48)
        assert out_image.shape == (48, 48, 3)
        assert out_mask.shape == (48, 48)
        assert augment.batch_side(rng, 48) in ({48, 64} if name == "multiscale" else {48})


@pytest.mark.parametrize("name", NAMES)
def test_choice_starts_with_what_it_is_and_a_command(name):
    first, second = (CONF / f"{name}.yaml").read_text().splitlines()[:2]
    assert first.startswith("# ")
    assert f"aug={name}" in second
