"""The loss functions against the same maths in float64 NumPy, pixel by pixel and class by class."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from semiseg.losses import functional

IGNORE = 255
WEIGHTS = torch.tensor([0.2, 1.0, 2.5, 0.7])


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 4, 5, 6, generator=generator)
    target = torch.randint(0, 3, (2, 5, 6), generator=generator)  # class 3 is absent
    target[torch.rand(2, 5, 6, generator=generator) < 0.3] = IGNORE
    return logits, target


def reference_probability(logits):
    scores = logits.numpy().astype(np.float64)
    exponent = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponent / exponent.sum(axis=1, keepdims=True)


def true_class_probability(logits, target):
    """Probability of the true class and the class, of the valid pixels alone, both flat."""
    pixels = np.moveaxis(reference_probability(logits), 1, -1).reshape(-1, logits.shape[1])
    classes = target.numpy().reshape(-1)
    valid = classes != IGNORE
    return pixels[valid, classes[valid]], classes[valid]


def prepared(logits, target, class_weights):
    log_probs = F.log_softmax(logits, dim=1)
    valid = target != IGNORE
    weight = functional.pixel_weight(target, valid, class_weights)
    return log_probs, functional.pixel_nll(log_probs, target), valid, weight


@pytest.mark.parametrize("class_weights", [None, WEIGHTS])
def test_cross_entropy_is_the_weighted_mean_over_valid_pixels(batch, class_weights):
    _, nll, _, weight = prepared(*batch, class_weights)
    probability, classes = true_class_probability(*batch)
    pixel_weight = np.ones(len(classes)) if class_weights is None else WEIGHTS.numpy().astype(np.float64)[classes]
    expected = -(pixel_weight * np.log(probability)).sum() / pixel_weight.sum()
    assert functional.cross_entropy(nll, weight).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("class_weights", [None, WEIGHTS])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_is_the_weighted_mean_of_the_modulated_cross_entropy(batch, class_weights, gamma):
    _, nll, _, weight = prepared(*batch, class_weights)
    probability, classes = true_class_probability(*batch)
    pixel_weight = np.ones(len(classes)) if class_weights is None else WEIGHTS.numpy().astype(np.float64)[classes]
    pixels = -0.25 * (1 - probability) ** gamma * np.log(probability)
    expected = (pixel_weight * pixels).sum() / pixel_weight.sum()
    assert functional.focal(nll, weight, alpha=0.25, gamma=gamma).item() == pytest.approx(expected, rel=1e-5)


def test_dice_is_the_mean_over_the_present_classes_of_the_whole_batch(batch):
    logits, target = batch
    log_probs, _, valid, _ = prepared(logits, target, None)
    probability, truth = reference_probability(logits), target.numpy()
    scores = []
    for class_id in range(4):
        of_class = truth == class_id
        if of_class.any():
            overlap = probability[:, class_id][of_class].sum()
            predicted = probability[:, class_id][truth != IGNORE].sum()
            scores.append((2 * overlap + 1) / (predicted + of_class.sum() + 1))
    assert len(scores) == 3
    assert functional.dice(log_probs, target, valid, smooth=1.0).item() == pytest.approx(1 - np.mean(scores), rel=1e-5)


def test_a_perfect_prediction_costs_nothing():
    target = torch.tensor([[[0, 1], [1, IGNORE]]])
    logits = torch.zeros(1, 2, 2, 2)
    logits[:, 0], logits[:, 1] = torch.where(target == 0, 50.0, -50.0), torch.where(target == 1, 50.0, -50.0)
    log_probs, nll, valid, weight = prepared(logits, target, None)
    assert functional.cross_entropy(nll, weight).item() == pytest.approx(0, abs=1e-6)
    assert functional.focal(nll, weight, alpha=0.25, gamma=2.0).item() == pytest.approx(0, abs=1e-6)
    assert functional.dice(log_probs, target, valid, smooth=1.0).item() == pytest.approx(0, abs=1e-6)


def test_the_focal_gradient_is_finite_on_certain_pixels():
    logits = torch.tensor([100.0, -100.0]).view(1, 2, 1, 1).requires_grad_()
    _, nll, _, weight = prepared(logits, torch.zeros(1, 1, 1, dtype=torch.int64), None)
    functional.focal(nll, weight, alpha=0.25, gamma=0.5).backward()
    assert torch.isfinite(logits.grad).all()


def test_pixel_weight_is_zero_on_ignored_pixels(batch):
    _, target = batch
    weight = functional.pixel_weight(target, target != IGNORE, WEIGHTS)
    assert (weight[target == IGNORE] == 0).all()
    assert (weight[target == 2] == 2.5).all()
