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

    The run folder is the record; a tracker copies it to where runs are compared. No method raises because a store
    fails, and none but `finish` waits for one: a lost server costs a warning, never the training.
    """

    def start(
        self,
        run_name: str,
        tags: Mapping[str, str],
        *,
        run_dir: Path,
        run_id: str | None = None,
        anew: bool = False,
        warn: Callable[[str], None] = logger.warning,
    ) -> None:
        """Open the run of a folder, or open it again after an interruption. `warn` is told once if the store fails.

        `run_id` is that of a run whose folder does not say it, as older versions left them. `anew`: it starts with its
        first step, so that it replaces what an earlier attempt in the folder has sent.
        """
        ...

    def log_params(self, params: Mapping[str, object]) -> None:
        """Record settings; nested mappings become dotted names ("trainer.max_steps")."""
        ...

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record values of one step, which metrics.jsonl of the run folder holds already. Steps come in order; values
        may be held back until `flush`."""
        ...

    def flush(self) -> None:
        """See to it that what is held back is sent soon. Called at evaluations, when a step's values are complete."""
        ...

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Copy a file of the run folder, as it is then or later."""
        ...

    def log_figure(self, image: np.ndarray, name: str) -> None:
        """Record a picture, uint8 RGB [H, W, 3], as `figures/<name>.png`."""
        ...

    def finish(self, status: str) -> None:
        """Close the run as "FINISHED", "FAILED" or "KILLED", after a bounded time."""
        ...

    @property
    def run_id(self) -> str | None:
        """Name of the run in the store; None as long as the store has not answered."""
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
