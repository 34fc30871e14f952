import inspect
from pathlib import Path

from semiseg.tracking import NullTracker, Tracker
from semiseg.tracking.mlflow import MLflowTracker


def test_both_trackers_have_the_methods_and_arguments_of_the_protocol():
    for name, method in inspect.getmembers(Tracker, inspect.isfunction):
        if name.startswith("_"):
            continue
        for tracker in (NullTracker, MLflowTracker):
            assert inspect.signature(getattr(tracker, name)) == inspect.signature(method), (tracker, name)
    for name in ("run_id", "location", "ui_command", "ui_page"):
        assert hasattr(NullTracker, name) and hasattr(MLflowTracker, name)


def test_an_untracked_run_has_no_store():
    tracker: Tracker = NullTracker()
    tracker.start("run", {}, run_dir=Path("nowhere"))
    tracker.log_metrics({"a": 1.0}, 1)
    tracker.finish("FINISHED")
    assert (tracker.run_id, tracker.location, tracker.ui_command, tracker.ui_page) == (None, "", "", "")
