"""The audit of pseudo labels, on a batch small enough to count by hand and against NumPy."""

import numpy as np
import pytest
import torch

from semiseg.contracts import PseudoLabel
from semiseg.pseudo_label import audit
from semiseg.pseudo_label.audit import audit_metrics

NAMES = ("background", "road", "water")
TARGET = torch.tensor([[[0, 1], [1, 2]], [[1, 1], [2, 2]], [[0, 0], [0, 0]]])
KEEP = torch.tensor([[[1, 1], [1, 0]], [[1, 0], [1, 1]], [[0, 0], [0, 0]]]).bool()
TRUTH = torch.tensor([[[0, 1], [2, 2]], [[255, 1], [2, 1]], [[0, 0], [0, 0]]])


def metrics_of(sums, steps=1):
    return audit_metrics({**sums, "batches": torch.tensor(steps)}, NAMES)


def test_shares_counted_by_hand():
    metrics = metrics_of(audit(PseudoLabel(TARGET, KEEP), TRUTH, 3))
    assert metrics == pytest.approx(
        {
            "st/images": 2,
            "st/pixels": 6,
            "st/coverage": 6 / 12,
            "st/coverage/background": 1 / 5,
            "st/coverage/road": 3 / 4,
            "st/coverage/water": 2 / 3,
            "st/precision": 3 / 5,
            "st/precision/background": 1,
            "st/precision/road": 1 / 2,
            "st/precision/water": 1 / 2,
        }
    )


def test_counts_match_numpy_on_a_random_batch():
    generator = torch.Generator().manual_seed(5)
    target = torch.randint(0, 3, (4, 9, 8), generator=generator)
    keep = torch.rand(4, 9, 8, generator=generator) < 0.5
    truth = torch.randint(0, 4, (4, 9, 8), generator=generator)
    truth[truth == 3] = 255
    sums = audit(PseudoLabel(target, keep), truth, 3)
    known = keep & (truth != 255)
    right = known & (truth == target)
    for key, chosen in {"class_kept": keep, "class_audited": known, "class_correct": right}.items():
        assert sums[key].tolist() == np.bincount(target[chosen].numpy(), minlength=3).tolist()


def test_sums_of_steps_give_means_a_step_and_pooled_shares():
    first, second = (audit(PseudoLabel(TARGET, keep), TRUTH, 3) for keep in (KEEP, torch.ones_like(KEEP)))
    metrics = metrics_of({key: first[key] + second[key] for key in first}, steps=2)
    assert metrics["st/images"] == 2.5 and metrics["st/pixels"] == 9 and metrics["st/coverage"] == 18 / 24
    assert metrics["st/precision"] == pytest.approx((3 + 9) / (5 + 11))


@pytest.mark.parametrize("truth", [None, torch.full_like(TRUTH, 255)])
def test_precision_is_left_out_where_no_truth_is_known(truth):
    metrics = metrics_of(audit(PseudoLabel(TARGET, KEEP), truth, 3))
    assert metrics["st/pixels"] == 6 and not [name for name in metrics if "precision" in name]


def test_nothing_kept():
    metrics = metrics_of(audit(PseudoLabel(TARGET, torch.zeros_like(KEEP)), TRUTH, 3))
    assert metrics["st/images"] == metrics["st/pixels"] == metrics["st/coverage"] == 0
    assert not [name for name in metrics if "precision" in name]


def test_an_unpredicted_class_is_left_out():
    target = TARGET.clamp(max=1)
    metrics = metrics_of(audit(PseudoLabel(target, KEEP), TRUTH, 3))
    assert "st/coverage/water" not in metrics and "st/precision/water" not in metrics


def test_no_value_is_read_back_from_the_device():
    """A meta tensor has no values, so whatever would wait for one fails on it."""
    sums = audit(PseudoLabel(TARGET.to("meta"), KEEP.to("meta")), TRUTH.to("meta"), 3)
    assert all(value.is_meta and value.dtype == torch.int64 for value in sums.values())
