"""The tracker of an untracked run: the same methods, so that the loop has no `if`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from semiseg.tracking.base import logger


class NullTracker:
    """Records nothing; the run folder still holds everything (`tracking=none`)."""

    run_id: str | None = None
    location: str = ""
    ui_command: str = ""
    ui_page: str = ""

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
        """Nothing to open."""

    def log_params(self, params: Mapping[str, object]) -> None:
        """Nothing to record."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Nothing to record."""

    def flush(self) -> None:
        """Nothing to send."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Nothing to copy."""

    def log_figure(self, image: np.ndarray, name: str) -> None:
        """Nothing to record."""

    def finish(self, status: str) -> None:
        """Nothing to close."""
