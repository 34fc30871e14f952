"""Runs of an MLflow experiment whose folders are gone: their summary, metrics and config are fetched again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from semiseg.errors import SemisegError
from semiseg.files import write_json, write_text
from semiseg.report.collect import Run, read_run
from semiseg.tracking.mlflow import quiet_mlflow
from semiseg.tracking.naming import hide_password

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as Tracked

STATUS = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "interrupted"}
ARTIFACTS = ("summary.json", "config.yaml", "confusion_best.npz", "examples.npz")
LAST = {"best_val_miou": "best/val_miou", "final_val_miou": "val/miou", "gap": "gap", "st_pixels": "st/pixels"}
LAST |= {"st_images": "st/images", "st_coverage": "st/coverage", "st_precision": "st/precision"}
PAGE = 200  # runs a request


def tracked_runs(uri: str, experiment: str, known: Collection[str], cache: Path) -> list[Run]:
    """The runs of an experiment that are not among the `known` run ids.

    A run whose folder exists is read from there. Of the others a folder `cache/RUN_ID` is written from what the store
    holds; a finished one is not fetched again. Raises SemisegError where the store does not answer or has no such
    experiment.
    """
    quiet_mlflow()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri=uri)
    try:
        found = client.get_experiment_by_name(experiment)
        if found is None:
            names = ", ".join(sorted(each.name for each in client.search_experiments()))
            raise SemisegError(f"mlflow={experiment}: {hide_password(uri)} has no such experiment. It has: {names}.")
        runs = [run for run in _all(client, found.experiment_id) if run.info.run_id not in known]
        return [_run(client, run, cache) for run in runs]
    except MlflowException as error:
        reason = hide_password(str(error).splitlines()[0])[:160]
        raise SemisegError(
            f"mlflow={experiment}: the store {hide_password(uri)} does not answer ({reason}). Start it or give another "
            "with tracking.uri=URI."
        ) from error


def _all(client: MlflowClient, experiment_id: str) -> list[Tracked]:
    runs: list[Tracked] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=PAGE, page_token=token)
        # The reports that compare.py logs are runs of the store too, but none of a training.
        runs += [run for run in page if run.data.tags.get("model")]
        token = page.token
        if not token:
            return runs


def _run(client: MlflowClient, tracked: Tracked, cache: Path) -> Run:
    own = read_run(Path(tracked.data.tags.get("run_folder", "")))
    if own.summary.get("mlflow_run_id") == tracked.info.run_id:  # and not a later run that took its place
        return own
    folder = cache / tracked.info.run_id
    if not read_run(folder).finished:
        folder.mkdir(parents=True, exist_ok=True)
        _fetch(client, tracked, folder)
    return read_run(folder)


def _fetch(client: MlflowClient, tracked: Tracked, folder: Path) -> None:
    """Write the files of a run folder from the artifacts, and from params and metrics what these lack."""
    run_id = tracked.info.run_id
    stored = {item.path for item in client.list_artifacts(run_id)}
    for name in stored.intersection(ARTIFACTS):
        shutil.copy(client.download_artifacts(run_id, name), folder / name)
    hydra = folder / ".hydra"
    hydra.mkdir(exist_ok=True)
    if "config.yaml" in stored:
        (folder / "config.yaml").replace(hydra / "config.yaml")
    else:
        write_text(hydra / "config.yaml", yaml.safe_dump(_nested(tracked.data.params)))
    write_text(folder / "metrics.jsonl", _metrics(client, tracked))
    if "summary.json" not in stored:
        write_json(folder / "summary.json", _summary(tracked))


def _metrics(client: MlflowClient, tracked: Tracked) -> str:
    """metrics.jsonl from the store: a request a quantity, so those that no part of the report shows are left out."""
    lines: dict[int, dict[str, float]] = {}
    for name in tracked.data.metrics:
        if not any(part in name for part in ("/precision/", "/recall/", "/f1/")):
            for point in client.get_metric_history(tracked.info.run_id, name):
                line = lines.setdefault(point.step, {"step": point.step, "time": point.timestamp / 1000})
                line[name] = point.value
    return "".join(json.dumps(line) + "\n" for _, line in sorted(lines.items()))


def _summary(tracked: Tracked) -> dict[str, object]:
    """As much of a summary as params, tags and the last metrics hold."""
    tags, params, metrics = tracked.data.tags, tracked.data.params, tracked.data.metrics
    classes = {name.removeprefix("val/iou/"): value for name, value in metrics.items() if name.startswith("val/iou/")}
    return {
        "status": STATUS.get(tracked.info.status, "no summary"),
        "name": tracked.info.run_name,
        "experiment": params.get("experiment_name"),
        "model": tags.get("model"),
        "seed": params.get("seed"),
        "sweep": tags.get("sweep"),
        "data_fingerprint": tags.get("data_fingerprint", "unknown"),
        "git_commit": tags.get("git_commit"),
        "mlflow_run_id": tracked.info.run_id,
        "class_iou": classes,
        **{key: metrics[name] for key, name in LAST.items() if name in metrics},
    }


def _nested(params: dict[str, str]) -> dict[str, object]:
    """Dotted names as nested mappings."""
    tree: dict[str, object] = {}
    for name, value in params.items():
        node = tree
        *groups, key = name.split(".")
        for group in groups:
            below = node.setdefault(group, {})
            if not isinstance(below, dict):
                break
            node = below
        else:
            node[key] = value
    return tree
