"""Where a run is recorded: its own folder first, an experiment tracker as a mirror."""

from semiseg.tracking.base import Tracker
from semiseg.tracking.local import MetricsFile, read_metrics
from semiseg.tracking.null import NullTracker

__all__ = ["MetricsFile", "NullTracker", "Tracker", "read_metrics"]
