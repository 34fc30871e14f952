"""The way to an MLflow store: its client, its experiment, its runs."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from semiseg.tracking import view
from semiseg.tracking.naming import SQLITE, entity_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def get_run(client: MlflowClient, run_id: str) -> Run | None:
    """The run of this id; None where it was deleted or never was."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def connect(uri: str, experiment: str, root: Path) -> tuple[MlflowClient, str]:
    """Client of a store and id of an experiment in it, both made where missing.

    `root` is the folder of mlartifacts; a server decides for itself where its artifacts are.
    """
    quiet_mlflow()
    from mlflow import MlflowClient

    location = None
    if not uri.startswith(("http", "databricks")):
        location = (root / "mlartifacts" / entity_name(experiment).replace("/", "_")).as_uri()
    if not uri.startswith(SQLITE):
        client = MlflowClient(tracking_uri=uri)
        return client, experiment_id(client, experiment, location)
    database = Path(uri.removeprefix(SQLITE))
    database.parent.mkdir(parents=True, exist_ok=True)
    # Two processes that create one SQLite store at the same time corrupt it for good.
    with FileLock(f"{database}.lock", timeout=120):
        client = MlflowClient(tracking_uri=uri)
        return client, experiment_id(client, experiment, location)


def experiment_id(client: MlflowClient, name: str, artifacts: str | None) -> str:
    """Id of the experiment, made where missing; another process may make it in the same moment."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=artifacts, tags=view.VIEW)
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if view.TAG not in found.tags:
        client.set_experiment_tag(found.experiment_id, view.TAG, view.VIEW[view.TAG])
    return found.experiment_id


def quiet_mlflow() -> None:
    """No telemetry, no migration notes or retries in the terminal; a server that is gone fails in seconds.

    MLflow does not repeat a request by itself: the answer may be all that was lost, and `Mirror` looks first.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    # The variable is read when MLflow is imported, which others may have done before.
    logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
