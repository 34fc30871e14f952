"""What a run needs of an experiment tracker, whichever it is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

logger = logging.getLogger(__name__)


class Tracker(Protocol):
    """Mirror of a run in an experiment tracker.

    The run folder is the record; a tracker copies it to where runs are compared. No method raises or blocks for long
    because a store fails: a lost server costs one warning, never the training.
    """

    def start(
        self,
        run_name: str,
        tags: Mapping[str, str],
        *,
        run_id: str | None = None,
        run_dir: Path | None = None,
        warn: Callable[[str], None] = logger.warning,
    ) -> None:
        """Open a run, or open `run_id` again after an interruption. `warn` is told once if the store fails."""
        ...

    def log_params(self, params: Mapping[str, object]) -> None:
        """Record settings; nested mappings become dotted names ("trainer.max_steps")."""
        ...

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record values of one step. Steps come in order; values may be held back until `flush`."""
        ...

    def flush(self) -> None:
        """Send what is held back. Called at evaluations, when a step's values are complete."""
        ...

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Copy a file of the run."""
        ...

    def log_figure(self, image: np.ndarray, name: str) -> None:
        """Record a picture, uint8 RGB [H, W, 3], as `figures/<name>.png`."""
        ...

    def finish(self, status: str) -> None:
        """Close the run as "FINISHED", "FAILED" or "KILLED"."""
        ...

    @property
    def run_id(self) -> str | None:
        """Name of the run in the store: kept in checkpoints, so that a resumed run goes on in the same place."""
        ...

    @property
    def location(self) -> str:
        """Where the store is, for the summary; empty where there is none."""
        ...

    @property
    def ui_command(self) -> str:
        """What to type or open to look at the store; empty where there is none."""
        ...

    @property
    def ui_page(self) -> str:
        """Address in that UI of the table of runs; empty where there is none."""
        ...
