"""MLflow as a mirror of the run folder: a local SQLite store by default, any tracking URI by `tracking.uri=`."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock

from semiseg.tracking import view
from semiseg.tracking.base import logger
from semiseg.tracking.naming import SQLITE, entity_name, flatten, hide_password, store_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

FLUSH_AT = 500  # metrics; one call for 500 costs about as much as five calls for 20
METRICS_A_CALL, PARAMS_A_CALL = 1000, 100  # MLflow's own limits
LOGGED_STEP = "semiseg.logged_step"  # tag of a run: its metrics are complete up to this step


class MLflowTracker:
    """Tracks one run through MLflow's client, without its global state.

    Metrics wait in a buffer for `FLUSH_AT` of them, or `flush`. Each flush also writes down the step it reached, so
    that a resumed run (or a replay of metrics.jsonl) adds only what the store lacks. The first call that fails ends
    the tracking with one warning: MLflow would otherwise block the training for minutes, again and again.
    """

    def __init__(self, experiment_name: str, uri: str | None = None, root: str | Path = "runs") -> None:
        """`root` is the folder of mlflow.db (with `uri` null) and of mlartifacts.

        Raises ConfigError for a URI that MLflow cannot use.
        """
        self._root = Path(root).expanduser().absolute()
        self._uri = store_uri(uri, self._root)
        self._experiment_name = experiment_name
        self._client: MlflowClient | None = None
        self._run_id: str | None = None
        self._experiment_id: str | None = None
        self._run_dir: Path | None = None
        self._warn: Callable[[str], None] = logger.warning
        self._buffer: list[Metric] = []
        self._known_params: dict[str, str] = {}
        self._known_step = -1

    @property
    def run_id(self) -> str | None:
        return self._run_id

    @property
    def location(self) -> str:
        return self._uri.removeprefix(SQLITE) if self._uri.startswith(SQLITE) else hide_password(self._uri)

    @property
    def ui_command(self) -> str:
        if self._uri.startswith("http"):
            return hide_password(self._uri)
        uri = f'"{self._uri}"' if " " in self._uri else self._uri
        return f"mlflow ui --backend-store-uri {hide_password(uri)}"

    @property
    def ui_page(self) -> str:
        if self._experiment_id is None:
            return ""
        server = hide_password(self._uri) if self._uri.startswith("http") else "http://127.0.0.1:5000"
        return server.rstrip("/") + view.page(self._experiment_id)

    def start(
        self,
        run_name: str,
        tags: Mapping[str, str],
        *,
        run_id: str | None = None,
        run_dir: Path | None = None,
        warn: Callable[[str], None] = logger.warning,
    ) -> None:
        self._warn, self._run_dir = warn, run_dir
        with self._until_first_failure():
            client, experiment_id = self._connect()
            self._experiment_id = experiment_id
            if run_id is None or not self._reopen(client, run_id):
                self._run_id = client.create_run(experiment_id, run_name=run_name, tags=dict(tags)).info.run_id
            self._client = client

    def log_params(self, params: Mapping[str, object]) -> None:
        """MLflow refuses to change a parameter: another value in a resumed run becomes a tag `resumed.<name>`."""
        if self._client is None:
            return
        from mlflow.entities import Param, RunTag

        values = flatten(params)
        new = [Param(name, value) for name, value in values.items() if name not in self._known_params]
        changed = [RunTag(f"resumed.{k}", v) for k, v in values.items() if self._known_params.get(k, v) != v]
        with self._until_first_failure():
            for first in range(0, max(len(new), len(changed)), PARAMS_A_CALL):
                part = slice(first, first + PARAMS_A_CALL)
                self._client.log_batch(str(self._run_id), params=new[part], tags=changed[part])
            self._known_params |= {p.key: p.value for p in new}

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Values that are not finite are left out here; metrics.jsonl has them as null."""
        if self._client is None or step <= self._known_step:
            return
        from mlflow.entities import Metric

        if len(self._buffer) >= FLUSH_AT and step > self._buffer[-1].step:
            self.flush()
        now = int(time.time() * 1000)
        self._buffer += [Metric(entity_name(k), float(v), now, step) for k, v in metrics.items() if math.isfinite(v)]

    def flush(self) -> None:
        if self._client is None or not self._buffer:
            return
        from mlflow.entities import RunTag

        reached = [RunTag(LOGGED_STEP, str(self._buffer[-1].step))]
        with self._until_first_failure():
            for first in range(0, len(self._buffer), METRICS_A_CALL):
                last = first + METRICS_A_CALL >= len(self._buffer)
                part = self._buffer[first : first + METRICS_A_CALL]
                self._client.log_batch(str(self._run_id), metrics=part, tags=reached if last else [])
        self._buffer = []

    def log_artifact(self, path: Path, folder: str = "") -> None:
        if self._client is not None:
            with self._until_first_failure():
                self._client.log_artifact(str(self._run_id), str(path), folder or None)

    def log_figure(self, image: np.ndarray, name: str) -> None:
        if self._client is not None:
            with self._until_first_failure():
                self._client.log_image(str(self._run_id), image, artifact_file=f"figures/{entity_name(name)}.png")

    def finish(self, status: str) -> None:
        self.flush()
        if self._client is not None:
            with self._until_first_failure():
                self._client.set_terminated(str(self._run_id), status=status)
        self._client = None

    def _connect(self) -> tuple[MlflowClient, str]:
        """Client and experiment id. The first import of MLflow takes a second, hence here and not above."""
        quiet_mlflow()
        from mlflow import MlflowClient

        if not self._uri.startswith(SQLITE):
            client = MlflowClient(tracking_uri=self._uri)
            return client, experiment_id(client, self._experiment_name, self._artifacts())
        database = Path(self._uri.removeprefix(SQLITE))
        database.parent.mkdir(parents=True, exist_ok=True)
        # Two processes that create one SQLite store at the same time corrupt it for good.
        with FileLock(f"{database}.lock", timeout=120):
            client = MlflowClient(tracking_uri=self._uri)
            return client, experiment_id(client, self._experiment_name, self._artifacts())

    def _artifacts(self) -> str | None:
        """Absolute artifact folder of the experiment; a server decides for itself."""
        if self._uri.startswith(("http", "databricks")):
            return None
        return (self._root / "mlartifacts" / entity_name(self._experiment_name).replace("/", "_")).as_uri()

    def _reopen(self, client: MlflowClient, run_id: str) -> bool:
        """Set a run of before to RUNNING again and learn what it holds; False where the store no longer has it."""
        from mlflow.exceptions import MlflowException

        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            run = None
        if run is None or run.info.lifecycle_stage == "deleted":
            self._warn(f"MLflow run {run_id} is no longer in {self.location}: a new one goes on from here")
            return False
        client.update_run(run_id, status="RUNNING")
        self._run_id = run_id
        self._known_params = dict(run.data.params)
        self._known_step = int(run.data.tags.get(LOGGED_STEP, -1))
        return True

    @contextlib.contextmanager
    def _until_first_failure(self) -> Iterator[None]:
        """Whatever the store raises ends the tracking, with one warning, and not the training."""
        try:
            yield
        except Exception as error:
            self._client, self._buffer = None, []
            reason = hide_password((str(error).splitlines() or [""])[0])[:200]
            record = (self._run_dir or Path("<run>")) / "metrics.jsonl"
            self._warn(f"tracking stopped: {type(error).__name__}: {reason}; metrics are in {record}")


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
    """No telemetry, no migration notes in the terminal; a server that is gone fails in seconds, not minutes."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    logging.getLogger("alembic").setLevel(logging.WARNING)
