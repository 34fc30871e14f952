"""Early stopping counts by the best score that was measured; the files may hold weights of another evaluation."""

from __future__ import annotations

import math

from semiseg.engine.best import BestScore


def of(*scores: float) -> BestScore:
    """After evaluations at steps 1, 2, ..."""
    best = BestScore()
    for step, score in enumerate(scores, start=1):
        best.take(score, step)
    return best


def test_the_first_of_equal_scores_stays_the_best() -> None:
    best = of(0.3, 0.5, 0.5, 0.4)
    assert (best.miou, best.step, best.since, best.weights) == (0.5, 2, 2, (2, 0.5))


def test_a_score_that_is_no_number_gives_way_to_one_that_is() -> None:
    best = of(math.nan)
    assert math.isnan(best.miou) and best.step == 1 and best.weights is not None
    assert best.take(0.0, 2) and (best.miou, best.step, best.since) == (0.0, 2, 0)
    assert not best.take(math.nan, 3) and best.since == 1


def test_lost_weights_are_replaced_by_the_next_while_the_patience_goes_on() -> None:
    best = of(0.6, 0.5)
    best.weights = None
    assert best.take(0.2, 3) and best.weights == (3, 0.2)
    assert not best.take(0.1, 4) and best.take(0.3, 5)
    assert (best.miou, best.step, best.since) == (0.6, 1, 4)


def test_it_goes_on_where_a_checkpoint_left_it_also_one_of_an_older_version() -> None:
    state, again = of(0.3, 0.2).state_dict(), BestScore()
    again.load_state_dict(state)
    assert again.state_dict() == state
    del state["best_weights"]
    again.load_state_dict(state)
    assert again.weights == (1, 0.3)
    again.load_state_dict(BestScore().state_dict() | {"best_weights": None})
    assert again.weights is None and again.take(0.0, 1)
