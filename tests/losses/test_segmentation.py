"""SegmentationLoss: how terms, heads and class weights are put together."""

import math
from pathlib import Path

import hydra
import pytest
import torch
import torch.nn.functional as F

from semiseg.errors import ConfigError
from semiseg.losses import SegmentationLoss

CONF = Path(__file__).parents[2] / "conf"
ALL = {"ce_weight": 0.4, "dice_weight": 0.4, "focal_weight": 0.2}


@pytest.fixture
def target():
    target = torch.randint(0, 3, (2, 6, 7), generator=torch.Generator().manual_seed(1))
    target[:, :2] = 255
    return target


@pytest.fixture
def heads():
    return torch.randn(3, 2, 3, 6, 7, generator=torch.Generator().manual_seed(2))


def test_total_is_the_weighted_sum_of_the_parts(heads, target):
    total, parts = SegmentationLoss(**ALL)(heads[0], target)
    assert list(parts) == ["ce", "dice", "focal"]
    assert total.shape == () and not any(part.requires_grad for part in parts.values())
    expected = 0.4 * parts["ce"] + 0.4 * parts["dice"] + 0.2 * parts["focal"]
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert parts["ce"].item() == pytest.approx(F.cross_entropy(heads[0], target, ignore_index=255).item(), rel=1e-6)


def test_a_term_of_weight_zero_is_not_reported(heads, target):
    _, parts = SegmentationLoss(dice_weight=1.0)(heads[0], target)
    assert list(parts) == ["dice"]


def test_each_head_gets_its_own_loss(heads, target):
    loss = SegmentationLoss(**ALL, head_loss="each")
    expected = torch.stack([loss(head, target)[0] for head in heads]).mean()
    assert loss(heads, target)[0].item() == pytest.approx(expected.item(), rel=1e-6)


def test_mean_trains_the_averaged_logits(heads, target):
    loss = SegmentationLoss(**ALL, head_loss="mean")
    expected, _ = SegmentationLoss(**ALL)(heads.mean(dim=0), target)
    assert loss(heads, target)[0].item() == pytest.approx(expected.item(), rel=1e-6)
    assert loss(heads, target)[0].item() != pytest.approx(SegmentationLoss(**ALL)(heads, target)[0].item(), rel=1e-3)


@pytest.mark.parametrize("head_loss", ["each", "mean"])
def test_class_weights_enter_cross_entropy_as_in_pytorch(heads, target, head_loss):
    weights = [0.5, 1.0, 3.0]
    _, parts = SegmentationLoss(ce_weight=1.0, class_weights=weights, head_loss=head_loss)(heads[:1], target)
    expected = F.cross_entropy(heads[0], target, weight=torch.tensor(weights), ignore_index=255)
    assert parts["ce"].item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("class_weights", [None, [0.5, 1.0, 3.0]])
@pytest.mark.parametrize("head_loss", ["each", "mean"])
def test_nothing_valid_gives_exactly_zero_with_a_zero_gradient(heads, target, class_weights, head_loss):
    logits = heads.requires_grad_()
    loss = SegmentationLoss(**ALL, class_weights=class_weights, head_loss=head_loss)
    total, parts = loss(logits, torch.full_like(target, 255))
    total.backward()
    assert total.item() == 0 and all(part.item() == 0 for part in parts.values())
    assert logits.grad is not None and (logits.grad == 0).all()


def test_a_batch_of_classes_without_weight_gives_zero_not_nan(heads):
    loss = SegmentationLoss(ce_weight=1.0, focal_weight=1.0, class_weights=[0.0, 1.0, 1.0])
    total, _ = loss(heads, torch.zeros(2, 6, 7, dtype=torch.int64))
    assert total.item() == 0


def test_ignored_pixels_take_no_gradient(heads, target):
    logits = heads.requires_grad_()
    SegmentationLoss(**ALL)(logits, target)[0].backward()
    assert (logits.grad[..., :2, :] == 0).all()
    assert (logits.grad[..., 2:, :] != 0).any(dim=2).all()


def test_half_precision_logits_are_judged_in_float32(heads, target):
    total, _ = SegmentationLoss(**ALL)(heads.bfloat16(), target)
    expected, _ = SegmentationLoss(**ALL)(heads.bfloat16().float(), target)
    assert total.dtype == torch.float32 and total.item() == expected.item()


def test_no_value_is_read_back_from_the_device(heads, target):
    """A meta tensor has no values, so whatever would wait for one fails on it."""
    loss = SegmentationLoss(**ALL, class_weights=[0.5, 1.0, 3.0]).to("meta")
    total, _ = loss(heads.to("meta").requires_grad_(), target.to("meta"))
    total.backward()
    assert total.is_meta


def test_balanced_waits_for_its_weights(heads, target):
    loss = SegmentationLoss(ce_weight=1.0, class_weights="balanced")
    assert loss.needs_class_weights
    with pytest.raises(ConfigError, match="set_class_weights"):
        loss(heads, target)
    loss.set_class_weights(torch.tensor([0.5, 1.0, 3.0]))
    expected, _ = SegmentationLoss(ce_weight=1.0, class_weights=[0.5, 1.0, 3.0])(heads, target)
    assert not loss.needs_class_weights and loss(heads, target)[0].item() == expected.item()


def test_class_weights_stay_out_of_the_checkpoint():
    assert not SegmentationLoss(ce_weight=1.0, class_weights=[1.0, 2.0]).state_dict()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "loss has no term"),
        ({"ce_weight": -1.0}, "loss.ce_weight=-1.0"),
        ({"ce_weight": 1.0, "focal_gamma": -2.0}, "loss.focal_gamma=-2.0"),
        ({"ce_weight": 1.0, "head_loss": "sum"}, "loss.head_loss=sum: give one of each, mean"),
        ({"ce_weight": 1.0, "class_weights": "balance"}, "loss.class_weights=balance: give null, balanced"),
        ({"ce_weight": 1.0, "class_weights": [1.0, -1.0]}, "none below 0"),
        ({"ce_weight": 1.0, "class_weights": [1.0, math.nan]}, "finite"),
        ({"ce_weight": 1.0, "class_weights": [0.0, 0.0]}, "not all 0"),
    ],
)
def test_unusable_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        SegmentationLoss(**settings)


def test_a_wrong_number_of_class_weights_is_named(heads, target):
    with pytest.raises(ConfigError, match="2 values and the model 3 classes"):
        SegmentationLoss(ce_weight=1.0, class_weights=[1.0, 2.0])(heads, target)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("ce", (1.0, 0.0, 0.0)),
        ("dice", (0.0, 1.0, 0.0)),
        ("focal", (0.0, 0.0, 1.0)),
        ("focal_dice", (0.0, 1.0, 1.0)),
        ("combined", (0.4, 0.4, 0.2)),
    ],
)
def test_each_config_builds_what_it_says(name, weights):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose(f"loss/{name}").loss
    loss = hydra.utils.instantiate(config)
    assert tuple(loss.term_weights.values()) == weights
    assert loss.needs_class_weights == (name == "combined")
    assert {path.stem for path in (CONF / "loss").glob("*.yaml")} == {"ce", "dice", "focal", "focal_dice", "combined"}
