"""What stands around a network that judges each pixel by itself changes only what it says it does."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn.functional import interpolate

from semiseg.evaluation import EvaluateConfig, predictor_of
from semiseg.evaluation.predictors import ORIENTATIONS, SCALES, TTA, Autocast, Resized, mean

IMAGES = torch.randint(0, 256, (2, 3, 20, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Seen:
    """Notes the images that it is given."""

    def __init__(self, inner) -> None:
        self.inner, self.classes, self.images = inner, inner.classes, []

    def probabilities(self, images: Tensor) -> Tensor:
        self.images.append(images)
        return self.inner.probabilities(images)


def test_flips_of_an_equivariant_network_change_nothing(pixel_net: Callable) -> None:
    seen = Seen(pixel_net(1))
    flipped = TTA["flips"](seen)
    torch.testing.assert_close(flipped.probabilities(IMAGES), pixel_net(1).probabilities(IMAGES), rtol=0, atol=1e-6)
    assert flipped.classes == seen.classes
    assert len(seen.images) == len(ORIENTATIONS) == 4
    views = {tuple(images.flatten().tolist()) for images in seen.images}
    assert len(views) == 4
    assert tuple(IMAGES.flip(-1, -2).flatten().tolist()) in views


def test_flips_average_what_depends_on_the_place(pixel_net: Callable) -> None:
    class Ramp(type(pixel_net(0))):
        def probabilities(self, images: Tensor) -> Tensor:
            ramp = torch.linspace(0, 1, images.shape[-1]).expand(len(images), 1, *images.shape[-2:])
            return torch.cat([ramp, 1 - ramp], 1)

    found = TTA["flips"](Ramp(0)).probabilities(IMAGES)
    torch.testing.assert_close(found, torch.full((2, 2, 20, 30), 0.5))


def test_scales_of_an_even_image_change_nothing_and_the_truth_keeps_its_size(pixel_net: Callable) -> None:
    even = torch.tensor([10, 120, 200], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 20, 30).contiguous()
    seen = Seen(pixel_net(1))
    torch.testing.assert_close(TTA["multiscale"](seen).probabilities(even), pixel_net(1).probabilities(even))
    assert [tuple(images.shape[-2:]) for images in seen.images] == [(15, 22), (20, 30), (25, 38)]
    assert SCALES == (0.75, 1.0, 1.25)


def test_resized_predicts_at_its_size_and_answers_at_that_of_the_images(pixel_net: Callable) -> None:
    seen = Seen(pixel_net(1))
    found = Resized(seen, 60).probabilities(IMAGES)
    assert seen.images[0].shape == (2, 3, 40, 60) and seen.images[0].dtype == torch.uint8
    larger = interpolate(IMAGES.float(), size=(40, 60), mode="bilinear", align_corners=False).round().byte()
    assert torch.equal(seen.images[0], larger)
    expected = interpolate(pixel_net(1).probabilities(larger), size=(20, 30), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum(1), torch.ones(2, 20, 30))
    assert torch.equal(Resized(seen, 30).probabilities(IMAGES), pixel_net(1).probabilities(IMAGES))


def test_scales_are_relative_to_the_wanted_size(pixel_net: Callable) -> None:
    seen = Seen(pixel_net(1))
    run: Any = SimpleNamespace(
        classes=seen.classes, probabilities=seen.probabilities, device=torch.device("cpu"),
        config=OmegaConf.create({"trainer": {"precision": "fp16"}}),
    )  # fmt: skip
    predictor_of(EvaluateConfig("x", tta="multiscale", size=60), run).probabilities(IMAGES)
    assert [tuple(images.shape[-2:]) for images in seen.images] == [(30, 45), (40, 60), (50, 75)]


@pytest.mark.parametrize(("dtype", "inside"), [(torch.float32, False), (torch.bfloat16, True)])
def test_a_network_runs_in_its_precision(pixel_net: Callable, dtype: torch.dtype, inside: bool) -> None:
    class Asks(type(pixel_net(0))):
        def probabilities(self, images: Tensor) -> Tensor:
            assert torch.is_autocast_enabled("cpu") == inside
            return super().probabilities(images)

    assert Autocast(Asks(0), torch.device("cpu"), dtype).probabilities(IMAGES).shape == (2, 3, 20, 30)


def test_the_mean_leaves_its_parts_as_they_are() -> None:
    parts = [torch.zeros(2), torch.ones(2), torch.full((2,), 5.0)]
    assert mean(iter(parts)).tolist() == [2, 2]
    assert [part[0].item() for part in parts] == [0, 1, 5]
