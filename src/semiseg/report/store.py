"""The MLflow store that the report is logged to, and read from with `mlflow=EXPERIMENT`: that of the runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from semiseg.config import build
from semiseg.errors import ConfigError
from semiseg.files import write_text
from semiseg.report.collect import Run
from semiseg.tracking.base import Tracker
from semiseg.tracking.naming import store_uri

DATABASE = "mlflow.db"
REPORT_FILES = ("report.html", "report.md", "results.csv")
RUN_ID = "mlflow_run_id.txt"  # of the report's own run, so that writing it again does not add a second one


def store_root(tracking: DictConfig, runs: Path) -> Path | None:
    """The folder of the SQLite store: the one given (`output=`), else the nearest at or above `runs` that holds one.

    None where there is none: comparing runs makes no new store.
    """
    if tracking.get("root") is not None:
        return Path(tracking.root)
    here = runs.expanduser().absolute()
    return next((folder for folder in (here, *here.parents) if (folder / DATABASE).is_file()), None)


def store_uri_of(tracking: DictConfig, runs: Path) -> str:
    """Tracking URI to read from. Raises ConfigError where there is no store."""
    root = store_root(tracking, runs)
    uri = tracking.get("uri")
    if uri is None and root is None:
        raise ConfigError(
            f"mlflow= needs a store: there is no {DATABASE} in {runs.absolute()} or above it. Give one with "
            "tracking.uri=URI, and do not give tracking=none."
        )
    return store_uri(uri, root or runs)


def tracker_of(tracking: DictConfig, runs: Path, experiment_name: str) -> Tracker | None:
    """The tracker of the config; None where it would have to make a store of its own."""
    node = dict(tracking)
    if "uri" in node:
        root = store_root(tracking, runs)
        if root is None and node["uri"] is None:
            return None
        node |= {"root": str(root or runs), "experiment_name": node["experiment_name"] or experiment_name}
    return build(node, "tracking")


def experiment_of(runs: Sequence[Run]) -> str:
    """An experiment beside that of most of the runs, whose table is for trainings."""
    names = Counter(str(run.summary.get("experiment") or "semiseg") for run in runs)
    return f"{names.most_common(1)[0][0] if names else 'semiseg'}-reports"


def log_report(tracker: Tracker, out: Path, tags: dict[str, str]) -> list[str]:
    """Copy the report to an MLflow run named "report"; what to tell the user."""
    failures: list[str] = []
    marker = out / RUN_ID
    before = marker.read_text(encoding="utf-8").strip() if marker.is_file() else None
    tracker.start("report", tags, run_id=before, run_dir=out, warn=failures.append)
    for name in REPORT_FILES:
        tracker.log_artifact(out / name)
    for path in sorted((out / "figures").rglob("*.*")):
        tracker.log_artifact(path, path.parent.relative_to(out).as_posix())
    tracker.finish("FINISHED")
    if failures:
        return [f"MLflow: {text.partition('; metrics are in')[0]}" for text in failures]
    if tracker.run_id is None:  # tracking=none
        return []
    write_text(marker, tracker.run_id + "\n")
    return [
        f'Logged to MLflow as the run "report": {tracker.location}',
        f"Look at it: {tracker.ui_command}",
        f"and open {tracker.ui_page}",
    ]
