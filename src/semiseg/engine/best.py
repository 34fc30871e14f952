"""The best validation mIoU of a run, and whose weights its files hold."""

from __future__ import annotations

import math
from typing import Any


class BestScore:
    """What early stopping counts by, and which weights are those of record.

    `weights` are step and score of those in the files: the best's, unless a resumption found that these were gone.
    """

    def __init__(self) -> None:
        self.miou, self.step, self.since = -math.inf, 0, 0  # since: evaluations that were no better
        self.weights: tuple[int, float] | None = None

    def take(self, miou: float, step: int) -> bool:
        """Take note of an evaluation; True where its weights belong into the files."""
        if is_better(miou, self.miou if self.step else None):
            self.miou, self.step, self.since = miou, step, 0
        else:
            self.since += 1
        better = is_better(miou, self.weights[1] if self.weights else None)
        if better:
            self.weights = (step, miou)
        return better

    def state_dict(self) -> dict[str, Any]:
        """Under the keys of a full checkpoint."""
        return {
            "best_val_miou": self.miou,
            "best_step": self.step,
            "best_weights": self.weights,
            "evaluations_since_best": self.since,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a full checkpoint; those of older versions have no `best_weights`, which then are the best's."""
        self.miou, self.step = state["best_val_miou"], state["best_step"]
        self.since = state["evaluations_since_best"]
        self.weights = state.get("best_weights", (self.step, self.miou) if self.step else None)


def is_better(miou: float, best: float | None) -> bool:
    """The first counts even as NaN, where no class that counts occurs: the run has weights of record."""
    return best is None or math.isnan(best) or miou > best
