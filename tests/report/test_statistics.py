from collections.abc import Sequence

import numpy as np
import pytest

from semiseg.engine.metrics import Metrics
from semiseg.report.statistics import (
    SAMPLES,
    Difference,
    by_unit,
    difference,
    draws,
    miou,
    resampled_miou,
    resampling_units,
    verdict,
)

CLASSES = 4


def matrices(recall: float, patches: int = 30, seed: int = 0, noise: float = 0.1) -> np.ndarray:
    """[N, C, C]: patches of 400 pixels of which about the share `recall` is right, varying a little."""
    rng = np.random.default_rng(seed)
    share = np.random.default_rng(99).dirichlet(np.ones(CLASSES), patches)
    pixels = np.round(400 * share).astype(np.int64)
    hit = np.round(pixels * np.clip(recall + rng.normal(0, noise, (patches, 1)), 0, 1)).astype(np.int64)
    wrong = (pixels - hit)[:, :, None] // (CLASSES - 1) * (1 - np.eye(CLASSES, dtype=np.int64))
    return wrong + hit[:, :, None] * np.eye(CLASSES, dtype=np.int64)


def paired_bootstrap(
    group: Sequence[np.ndarray],
    baseline: Sequence[np.ndarray],
    *,
    excluded: Sequence[int] = (),
    sources: np.ndarray | None = None,
    samples: int = SAMPLES,
) -> Difference:
    """Two recipes, each given as one [N, C, C] array of confusion matrices a seed, as groups of runs are compared."""
    unit, units = resampling_units(sources, len(group[0]))
    sides = [
        np.stack([resampled_miou(by_unit(m, units), excluded, samples) for m in side]) for side in (group, baseline)
    ]
    return difference(sides[0], sides[1], unit)


def test_the_interval_is_that_of_a_slow_recomputation():
    excluded, samples = (0,), 200
    group = [matrices(0.7, seed=s) for s in range(3)]
    baseline = [matrices(0.6, seed=10 + s) for s in range(2)]
    found = paired_bootstrap(group, baseline, excluded=excluded, samples=samples)

    counts = draws(30, samples)
    generator = np.random.default_rng(1)
    sides = []
    for runs in (group, baseline):
        table = [
            [Metrics(np.sum([int(n) * m for n, m in zip(row, run, strict=True)], 0), excluded).miou for row in counts]
            for run in runs
        ]
        drawn = generator.integers(0, len(runs), (len(runs), samples))
        means = []
        for r in range(samples):
            all_seeds = np.mean([row[r] for row in table])
            some = np.mean([table[s][r] for s in drawn[:, r]])
            few = np.sqrt(len(runs) / (len(runs) - 1)) * 3.182446 / 1.959964  # Student's quantile of 3 degrees
            means.append(all_seeds + (some - all_seeds) * few)
        sides.append(np.array(means))
    low, high = np.quantile(sides[0] - sides[1], [0.025, 0.975])
    observed = [np.mean([Metrics(run.sum(0), excluded).miou for run in runs]) for runs in (group, baseline)]
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)
    assert found.mean == pytest.approx(observed[0] - observed[1], abs=1e-12)
    assert (found.unit, found.samples) == ("image", samples)


def test_miou_is_that_of_the_evaluation_with_absent_and_excluded_classes_left_out():
    rng = np.random.default_rng(0)
    for number in range(20):
        matrix = rng.integers(0, 9, (CLASSES, CLASSES))
        if number % 2:
            matrix[2], matrix[:, 2] = 0, 0
        for excluded in ((), (0,), (0, 2)):
            expected = Metrics(matrix, excluded).miou
            assert miou(matrix.reshape(1, -1).astype(float), excluded)[0] == pytest.approx(expected)
    assert np.isnan(miou(np.zeros((1, 16)), ())).all()


def test_equal_recipes_have_no_difference_and_clear_ones_a_verdict():
    runs = [matrices(0.6, seed=s) for s in range(3)]
    same = paired_bootstrap(runs, runs[:1] * 3)
    assert same.verdict == "not distinguishable" and same.low < 0 < same.high
    exact = paired_bootstrap(runs[:1] * 2, runs[:1] * 2)
    assert (exact.mean, exact.low, exact.high) == pytest.approx((0, 0, 0), abs=1e-12)
    better = [matrices(0.8, seed=20 + s) for s in range(3)]
    up, down = paired_bootstrap(better, runs), paired_bootstrap(runs, better)
    assert (up.verdict, down.verdict) == ("better", "worse")
    assert up.low < up.mean < up.high and up.mean == pytest.approx(-down.mean)


def test_one_seed_gives_an_interval_and_no_verdict():
    found = paired_bootstrap([matrices(0.8)], [matrices(0.5, seed=s) for s in range(3)])
    assert found.verdict == "too few seeds" and 0 < found.low < found.high


def test_what_is_hard_for_both_cancels_out():
    """The same patches are hard for both recipes: the difference is known far better than either score."""
    base, better = matrices(0.6, noise=0.2), matrices(0.62, noise=0.2)
    other = matrices(0.62, noise=0.2, seed=5)
    paired, unpaired = paired_bootstrap([better], [base]), paired_bootstrap([other], [base])
    assert paired.high - paired.low < 0.3 * (unpaired.high - unpaired.low)


def test_seed_noise_widens_the_interval_as_it_should():
    """All patches alike, so that the seeds alone spread: the interval is that of a difference of two means."""
    recalls = [(0.5, 0.6, 0.7, 0.8), (0.45, 0.5, 0.55, 0.6)]
    sides = [[np.repeat(matrices(r, 1, noise=0), 30, 0) for r in side] for side in recalls]
    found = paired_bootstrap(sides[0], sides[1], samples=4000)
    scores = [[Metrics(run.sum(0)).miou for run in side] for side in sides]
    error = np.sqrt(sum(np.var(side, ddof=1) / len(side) for side in scores))
    assert found.high - found.low == pytest.approx(2 * 2.447 * error, rel=0.1)  # Student's quantile of 6 degrees
    assert found.mean == pytest.approx(np.mean(scores[0]) - np.mean(scores[1]))


@pytest.mark.parametrize("seeds", [2, 3])
def test_few_seeds_that_differ_by_luck_alone_are_seldom_told_apart(seeds: int):
    rng = np.random.default_rng(0)
    luck = rng.normal(0.5, 0.02, (400, 2, seeds, 1))
    found = [difference(*(np.repeat(side, 501, 1) for side in sides), "image") for sides in luck]
    wrong = np.mean([each.verdict in ("better", "worse") for each in found])
    assert 0.01 < wrong < 0.1  # 0.05 is meant; the plain bootstrap comes to 0.2 with two seeds, and 0.13 with three


def test_patches_of_one_source_count_as_one():
    """Four copies of each patch hold no more than one: over sources the interval stays, over patches it halves."""
    one, other = matrices(0.7, 40, seed=1), matrices(0.6, 40, seed=2)
    sources = np.repeat([f"DJI_{i}" for i in range(40)], 4)
    copies = [np.repeat(each, 4, 0) for each in (one, other)]
    single = paired_bootstrap([one], [other])
    by_source = paired_bootstrap([copies[0]], [copies[1]], sources=sources)
    by_patch = paired_bootstrap([copies[0]], [copies[1]])
    assert (by_source.unit, by_patch.unit) == ("source", "image")
    assert by_source.high - by_source.low == pytest.approx(single.high - single.low, rel=0.1)
    assert by_patch.high - by_patch.low == pytest.approx((single.high - single.low) / 2, rel=0.1)


def test_few_sources_fall_back_to_patches():
    unit, units = resampling_units(np.array(["a", "b", "a", "c"]), 4)
    assert unit == "image" and units.tolist() == [0, 1, 2, 3]
    names = np.array(["b", "a", "c", "e", "d", "a"])
    unit, units = resampling_units(names, 6)
    assert unit == "source" and units.tolist() == [1, 0, 2, 4, 3, 0]
    cells = by_unit(np.arange(6 * 4).reshape(6, 2, 2), units)
    assert cells[0].tolist() == [24, 26, 28, 30] and cells.shape == (5, 4)


def test_the_draws_are_the_same_each_time():
    cells = np.random.default_rng(0).integers(0, 9, (2571, 49)).astype(float)
    first, again = resampled_miou(cells, ()), resampled_miou(cells, ())
    assert first.shape == (2001,) and np.array_equal(first, again)
    assert draws(2571, 2000).sum(1).tolist() == [2571] * 2000


@pytest.mark.parametrize(
    ("low", "high", "seeds", "word"),
    [
        (0.01, 0.02, 2, "better"),
        (-0.02, -0.01, 3, "worse"),
        (-0.01, 0.02, 3, "not distinguishable"),
        (0.0, 0.02, 3, "not distinguishable"),
        (float("nan"), float("nan"), 3, "not distinguishable"),
        (0.01, 0.02, 1, "too few seeds"),
    ],
)
def test_verdicts(low, high, seeds, word):
    assert verdict(low, high, seeds) == word
