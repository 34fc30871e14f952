"""DiscriminatorGate: one S4GAN iteration recomputed, what its gradients reach, and its schedules."""

from pathlib import Path
from unittest import mock

import hydra
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from semiseg.errors import ConfigError
from semiseg.pseudo_label import DiscriminatorGate

CONF = Path(__file__).parents[2] / "conf"
NAMES = ("background", "road", "water")


def make_gate(**settings):
    torch.manual_seed(0)
    gate = DiscriminatorGate(optim={"optimizer": "adam"}, **settings)
    gate.prepare(len(NAMES), NAMES, total_steps=50_000)
    return gate


def without_dropout(gate):
    for module in gate.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    return gate


@pytest.fixture
def batch():
    """Student logits of two heads and four images, the images, and a real batch of another size and number."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 4, 3, 32, 32, generator=generator).requires_grad_()
    images = torch.randn(4, 3, 32, 32, generator=generator)
    real_image = torch.randn(3, 3, 40, 40, generator=generator)
    real_mask = torch.randint(0, 3, (3, 40, 40), generator=generator)
    real_mask[:, :5] = 255
    return logits, images, (real_image, real_mask)


def run(gate, batch, step=2_000):
    logits, images, real = batch
    return gate(logits, None, images, real, step)


def unit_range(images):
    return (images - images.min()) / (images.max() - images.min())


def test_an_iteration_is_what_the_paper_says(batch):
    gate = without_dropout(make_gate(threshold=0.2))
    logits, images, (real_image, real_mask) = batch
    label = run(gate, batch)

    probability = (logits[0].softmax(1) + logits[1].softmax(1)) / 2
    score, feature = gate.discriminator(torch.cat([probability, unit_range(images)], dim=1))
    truth = F.one_hot(real_mask.where(real_mask != 255, 3), 4)[..., :3].permute(0, 3, 1, 2).float()
    real_score, real_feature = gate.discriminator(torch.cat([truth, unit_range(real_image)], dim=1))
    matching = (real_feature.mean(0) - feature.mean(0)).abs().mean()
    loss = (-torch.log(torch.sigmoid(real_score)).mean() - torch.log(1 - torch.sigmoid(score)).mean()) / 2

    assert torch.equal(label.target, probability.argmax(1))
    assert label.losses["student"].item() == pytest.approx(0.1 * matching.item(), rel=1e-4)
    assert label.losses["discriminator"].item() == pytest.approx(loss.item(), rel=1e-4)
    assert label.logs["loss/fm"].item() == pytest.approx(matching.item(), rel=1e-4)
    assert label.logs["d/score_fake"].item() == pytest.approx(score.sigmoid().mean().item(), rel=1e-4)
    assert label.logs["d/score_real"].item() == pytest.approx(real_score.sigmoid().mean().item(), rel=1e-4)
    assert label.logs["pseudo_label/threshold"].item() == pytest.approx(0.2)
    assert not any(value.requires_grad for value in label.logs.values())


def test_the_student_loss_reaches_the_student_and_not_the_discriminator(batch):
    gate = make_gate()
    run(gate, batch).losses["student"].backward()
    assert batch[0].grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in gate.discriminator.parameters())


def test_the_discriminator_loss_reaches_the_discriminator_and_not_the_student(batch):
    gate = make_gate()
    run(gate, batch).losses["discriminator"].backward()
    assert batch[0].grad is None
    assert all(parameter.grad.abs().sum() > 0 for parameter in gate.discriminator.parameters())


def test_both_losses_can_go_backward_one_after_the_other(batch):
    losses = run(make_gate(), batch).losses
    losses["student"].backward()
    losses["discriminator"].backward()


@pytest.mark.parametrize("first", ["student", "discriminator"])
def test_gradients_survive_mixed_precision(batch, first):
    gate = make_gate()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = run(gate, batch).losses
    losses[first].backward()
    reached = [parameter.grad is not None for parameter in gate.discriminator.parameters()]
    assert all(reached) if first == "discriminator" else not any(reached)


class ScoreByBrightness(nn.Module):
    """Stands in for a discriminator: the score is the mean of the image channels, shifted."""

    def forward(self, maps):
        return 20 * (maps[:, 3:].mean(dim=(1, 2, 3)) - 0.5), maps.mean(dim=(2, 3))


def test_images_above_the_threshold_are_kept_whole():
    gate = make_gate(threshold=0.5)
    gate.discriminator = ScoreByBrightness()
    images = torch.stack([torch.full((3, 8, 8), value) for value in (0.0, 0.2, 0.8, 1.0)])
    label = gate(torch.randn(4, 3, 8, 8), None, images, (images, torch.zeros(4, 8, 8, dtype=torch.int64)), step=0)
    assert label.keep.flatten(1).all(1).tolist() == [False, False, True, True]
    assert label.keep.flatten(1).any(1).tolist() == [False, False, True, True]


def test_nothing_above_the_threshold_keeps_nothing(batch):
    label = run(make_gate(threshold=0.999), batch)
    assert not label.keep.any() and (label.masked_target() == 255).all()


def test_the_gate_is_steady_and_with_gate_dropout_noisy(batch):
    def scores(gate):
        return {run(gate, batch).logs["pseudo_label/score"].item() for _ in range(4)}

    assert len(scores(make_gate())) == 1
    assert len(scores(make_gate(gate_dropout=True))) > 1


def test_the_discriminator_is_left_in_its_mode(batch):
    gate = make_gate()
    run(gate, batch)
    assert all(module.training for module in gate.modules())
    gate.eval()
    run(gate, batch)
    assert not any(module.training for module in gate.modules())


def test_a_gate_that_fails_leaves_the_discriminator_in_its_mode(batch, monkeypatch):
    """Memory may run out in it, and the training go on with smaller batches."""
    gate = make_gate()
    monkeypatch.setattr(gate.discriminator, "forward", mock.Mock(side_effect=torch.OutOfMemoryError))
    with pytest.raises(torch.OutOfMemoryError):
        run(gate, batch)
    assert gate.discriminator.training


def test_the_image_scaling_is_the_chosen_one(batch):
    over_batch, each = (run(without_dropout(make_gate(image_scaling=name)), batch) for name in ("batch", "image"))
    assert over_batch.losses["discriminator"].item() != each.losses["discriminator"].item()


def test_before_its_start_the_discriminator_neither_learns_nor_teaches(batch):
    gate = make_gate(start_step=100, discriminator_start=500)
    label = run(gate, (*batch[:2], None), step=499)
    assert not label.losses and "d/score_fake" not in label.logs
    assert set(run(gate, batch, step=500).losses) == {"student", "discriminator"}


def test_no_value_is_read_back_from_the_device(batch):
    """A meta tensor has no values, so whatever would wait for one fails on it."""
    logits, images, (real_image, real_mask) = batch
    real = (real_image.to("meta"), real_mask.to("meta"))
    label = make_gate().to("meta")(logits.detach().to("meta"), None, images.to("meta"), real, step=2_000)
    assert label.keep.is_meta and label.losses["discriminator"].is_meta


@pytest.mark.parametrize(
    ("start_step", "discriminator_start", "expected"),
    [(1_000, 0, [True, True, True]), (500, 500, [False, False, True]), (1, 500, [False, True, True])],
)
def test_it_is_active_from_whatever_starts_first(start_step, discriminator_start, expected):
    gate = make_gate(start_step=start_step, discriminator_start=discriminator_start)
    assert [gate.active(step) for step in (0, 499, 500)] == expected
    assert not gate.self_training(start_step - 1) and gate.self_training(start_step)


def compose_gate(name):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose(f"pseudo_label/{name}", overrides=["+optim.warmup_steps=1000", "+optim.grad_clip=10"])
        gate = hydra.utils.instantiate(config.pseudo_label)
    gate.prepare(len(NAMES), NAMES, total_steps=50_000)
    return gate


def test_v1_is_constant():
    gate = compose_gate("discriminator")
    assert {gate.threshold_at(step) for step in (0, 25_000, 50_000)} == {0.2}
    assert {gate.weight_at(step) for step in (0, 25_000, 50_000)} == {1.0}
    assert (gate.start_step, gate.discriminator_start) == (1_000, 0)
    assert gate.optim["schedule"] == "polynomial" and gate.optim["betas"] == [0.9, 0.99]
    assert list(gate.st_loss.term_weights.values()) == [1.0, 0.0, 0.0]


def test_v2_rises_to_its_final_threshold_and_weight():
    gate = compose_gate("discriminator_scheduled")
    thresholds = [gate.threshold_at(step) for step in (0, 15_000, 30_000, 50_000)]
    assert thresholds == pytest.approx([0.05, 0.125, 0.20, 0.20])
    assert [gate.weight_at(step) for step in (0, 10_000, 20_000, 50_000)] == pytest.approx([0.1, 0.55, 1.0, 1.0])
    assert (gate.start_step, gate.discriminator_start) == (500, 500)
    assert (gate.optim["schedule"], gate.optim["warmup_steps"], gate.optim["grad_clip"]) == ("cosine", 1000, 10)
    assert gate.scale_images is not compose_gate("discriminator").scale_images


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 1.5}, "pseudo_label.threshold=1.5"),
        ({"threshold_from": -0.1}, "pseudo_label.threshold_from=-0.1"),
        ({"threshold_until": 60}, "pseudo_label.threshold_until=60: give a share of the run"),
        ({"weight_from": -1.0}, "pseudo_label.weight_from=-1.0"),
        ({"fm_weight": -0.1}, "pseudo_label.fm_weight=-0.1"),
        ({"image_scaling": "none"}, "pseudo_label.image_scaling=none: give one of batch, image"),
    ],
)
def test_unusable_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_gate(**settings)
