"""Which pixels SoftmaxThreshold keeps, on logits made from known probabilities."""

import pytest
import torch

from semiseg.errors import ConfigError
from semiseg.pseudo_label import SoftmaxThreshold
from semiseg.pseudo_label.softmax import majority_vote, mean_vote

NAMES = ("background", "road", "water")


def pixels(*probabilities):
    """Logits [1, C, 1, pixels] whose softmax is the given rows."""
    return torch.tensor(probabilities).log().T.reshape(1, len(NAMES), 1, -1)


def judged(labeler, logits):
    labeler.prepare(len(NAMES), NAMES, total_steps=100)
    label = labeler(logits, logits, torch.zeros(1, 3, 1, 1), None, step=0)
    return label.target.flatten().tolist(), label.keep.flatten().tolist()


def test_a_pixel_is_kept_when_its_confidence_exceeds_the_threshold_of_its_class():
    labeler = SoftmaxThreshold(class_thresholds=[0.5, 0.7, 0.6])
    logits = pixels([0.55, 0.25, 0.20], [0.10, 0.65, 0.25], [0.10, 0.75, 0.15], [0.20, 0.25, 0.55], [0.1, 0.28, 0.62])
    assert judged(labeler, logits) == ([0, 1, 1, 2, 2], [True, False, True, False, True])


def test_one_threshold_serves_all_classes():
    logits = pixels([0.66, 0.24, 0.10], [0.64, 0.26, 0.10], [0.1, 0.1, 0.8])
    assert judged(SoftmaxThreshold(threshold=0.65), logits)[1] == [True, False, True]


def test_null_never_accepts_and_zero_always_does():
    logits = pixels([0.999, 0.0005, 0.0005], [0.1, 0.1, 0.8], [0.32, 0.35, 0.33])
    assert judged(SoftmaxThreshold(class_thresholds=[None, 0.0, 0.5]), logits)[1] == [False, True, True]


def test_the_comparison_is_strict_and_nan_is_not_trusted():
    logits = torch.tensor([[0.0, 0.0, -torch.inf], [torch.nan] * 3]).T.reshape(1, 3, 1, 2)
    assert judged(SoftmaxThreshold(threshold=0.5), logits)[1] == [False, False]


def test_no_pixel_kept_masks_everything():
    labeler = SoftmaxThreshold(threshold=0.99)
    labeler.prepare(3, NAMES, total_steps=100)
    logits = torch.zeros(2, 3, 4, 4)
    assert (labeler(logits, logits, logits, None, step=0).masked_target() == 255).all()


def test_heads_disagree_and_the_two_votes_differ():
    heads = torch.stack([pixels([0.48, 0.52, 1e-9]), pixels([0.48, 0.52, 1e-9]), pixels([0.90, 0.10, 1e-9])])
    confidence, target = mean_vote(heads)
    assert target.item() == 0 and confidence.item() == pytest.approx(0.62)
    confidence, target = majority_vote(heads)
    assert target.item() == 1 and confidence.item() == pytest.approx(0.38)


def test_a_tied_majority_goes_to_the_higher_mean_probability():
    heads = torch.stack([pixels([0.10, 0.85, 0.05]), pixels([0.60, 0.30, 0.10])])
    confidence, target = majority_vote(heads)
    assert target.item() == 1 and confidence.item() == pytest.approx(0.575)


@pytest.mark.parametrize("vote", [mean_vote, majority_vote])
def test_one_head_votes_as_its_softmax(vote):
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    confidence, target = vote(logits)
    expected = logits.softmax(dim=1).max(dim=1)
    assert torch.equal(target, expected.indices) and torch.allclose(confidence, expected.values)


@pytest.mark.parametrize("vote", ["mean", "majority"])
def test_the_teacher_is_judged_without_gradient_or_waiting_for_the_device(vote):
    labeler = SoftmaxThreshold(vote=vote)
    labeler.prepare(3, NAMES, total_steps=100)
    logits = torch.zeros(3, 2, 3, 4, 4, device="meta", requires_grad=True)
    label = labeler.to("meta")(logits, logits, logits[0], None, step=0)
    assert label.keep.shape == (2, 4, 4) and not label.logs["pseudo_label/confidence"].requires_grad


def test_when_it_counts():
    labeler = SoftmaxThreshold(start_step=500, weight=1.5)
    assert [labeler.active(step) for step in (0, 499, 500)] == [False, False, True]
    assert labeler.weight_at(0) == labeler.weight_at(10_000) == 1.5
    assert labeler.needs_teacher and not labeler.needs_real


def test_thresholds_move_with_the_module_but_are_not_its_state():
    labeler = SoftmaxThreshold()
    labeler.prepare(3, NAMES, total_steps=100)
    assert labeler.to("meta").thresholds.is_meta and not labeler.state_dict()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 1.0}, "pseudo_label.threshold=1.0: give a value from 0 to below 1"),
        ({"vote": "median"}, "pseudo_label.vote=median: give one of mean, majority"),
        ({"teacher": "mean"}, "pseudo_label.teacher=mean: give one of student, ema"),
        ({"start_step": -1}, "pseudo_label.start_step=-1"),
        ({"weight": -0.5}, "pseudo_label.weight=-0.5"),
    ],
)
def test_unusable_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        SoftmaxThreshold(**settings)


def test_thresholds_that_do_not_fit_the_data_stop_before_training():
    with pytest.raises(ConfigError, match="3 classes"):
        SoftmaxThreshold(class_thresholds=[0.5]).prepare(3, NAMES, total_steps=100)
