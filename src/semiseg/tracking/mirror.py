"""Brings an MLflow store level with a run folder. Whether now or days later, by the training or by `semiseg sync`."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from semiseg.files import read_json, write_json
from semiseg.tracking.connection import connect, get_run
from semiseg.tracking.local import MetricsReader
from semiseg.tracking.naming import entity_name, hide_password, without_passwords
from semiseg.tracking.state import RUNNING, Stored, TrackingState

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

METRICS_A_CALL, ENTRIES_A_CALL = 1000, 100  # MLflow's own limits
KEY = "semiseg.key"  # tag of a run: `TrackingState.key`
EVALUATED = "best/val_miou"  # a metric that every evaluation logs
T = TypeVar("T")


class Mirror:
    """A run in one store.

    `send` compares what the store has with what the folder holds and adds the difference. After a failure the next
    `send` asks the store again: a call may have arrived although its answer was lost. Metrics go in the order of their
    steps, so the last step that the store has of a name says which are missing; they carry the time of metrics.jsonl,
    and MLflow's databases take equal metrics once.
    """

    def __init__(self, run_dir: Path, state: TrackingState, uri: str, root: Path) -> None:
        """`root` is the folder of mlartifacts, where the store is no server."""
        self.run_dir, self.state, self.uri, self.root = run_dir, state, uri, root
        self.experiment_id: str | None = None
        self.with_metrics = True  # a training says when: first it drops the lines of steps that it does again
        self.notes: list[str] = []  # what the user should know, for the next who looks
        self.records_sent = self.files_sent = 0
        self._address = hide_password(uri)
        self._client: MlflowClient | None = None
        self._reader = MetricsReader(run_dir / "metrics.jsonl")
        self._reached: dict[str, int] = {}  # last step that the store has, by metric
        self._params: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._status = ""

    @property
    def stored(self) -> Stored:
        return self.state.stores.get(self._address, Stored())

    def send(self) -> None:
        """Send what the store lacks. Raises whatever the store raises."""
        try:
            client = self._client or self._open()
            self._client = client
            self._send_settings(client)
            self._send_metrics(client)
            self._send_files(client)
            self._send_status(client)
        except BaseException:
            self._client = None
            raise

    def unsent_records(self) -> int:
        """How many lines of metrics.jsonl hold values that the store is not known to have."""
        reached = dict(self._reached)
        records = MetricsReader(self._reader.path).read()[0]
        return sum(any(step > reached.get(name, -1) for name, _, step in values(record)) for record in records)

    def unsent_files(self) -> list[Path]:
        """Files of the run that the store does not have as they are now; none from outside the run folder."""
        stored, home = self.stored.files, self.run_dir.resolve()
        paths = {source: self.run_dir / source for source in self.state.files}
        changed = [p for source, p in paths.items() if (mark := fingerprint(p)) and stored.get(source) != mark]
        return [path for path in changed if path.resolve().is_relative_to(home)]

    @property
    def complete(self) -> bool:
        """Whether the store knows the status of the run, which is sent last."""
        return self._client is not None and self._status == self.state.status

    def _open(self) -> MlflowClient:
        """Find the run or make it, and learn what the store has of it."""
        client, self.experiment_id = connect(self.uri, self.state.experiment, self.root)
        run = self._find(client) or self._create(client)
        # `data.metrics` leaves out the steps.
        self._reached = {metric.key: metric.step for metric in run.to_proto().data.metrics}
        self._params, self._tags, self._status = dict(run.data.params), dict(run.data.tags), run.info.status
        self._reader.offset = 0
        return client

    def _find(self, client: MlflowClient) -> Run | None:
        """The run of before, if the store has it. One that was made although nobody heard of it is known by its key."""
        run_id = self.stored.run_id
        run = run_id and get_run(client, run_id)
        if run:
            return run
        if run_id:
            self.notes.append(f"MLflow run {run_id} is no longer in {self._address}: a new one holds all of it")
        found = client.search_runs([str(self.experiment_id)], f"tags.`{KEY}` = '{self.state.key}'", max_results=1)
        if found:
            self._remember(found[0].info.run_id)
        return found[0] if found else None

    def _create(self, client: MlflowClient) -> Run:
        self._remove_former_attempts(client)
        state = self.state
        run = client.create_run(
            str(self.experiment_id), start_time=state.started, tags=state.tags | {KEY: state.key}, run_name=state.name
        )
        self._remember(run.info.run_id)
        return run

    def _remember(self, run_id: str) -> None:
        with self.state.changed():
            self.state.stores = self.state.stores | {self._address: Stored(run_id)}

    def _remove_former_attempts(self, client: MlflowClient) -> None:
        """A run that is started anew in its folder stays one row of the table, unless the attempt before came so far
        that it was evaluated: that one ends as KILLED.

        A sweep empties the folder of such a job: there, what did not finish in the same folder was an earlier attempt.
        """
        folder, sweep, former = self.state.tags.get("run_folder", ""), self.state.tags.get("sweep"), self.state.former
        if not (former or sweep) or '"' in folder:  # such a path cannot be asked for
            return
        for run in client.search_runs([str(self.experiment_id)], f'tags.run_folder = "{folder}"'):
            tags, run_id = run.data.tags, run.info.run_id
            if run.info.status == "FINISHED" or not (tags.get(KEY) in former or (sweep and tags.get("sweep") == sweep)):
                continue
            if EVALUATED in run.data.metrics:
                client.set_terminated(run_id, status="KILLED")
            else:
                client.delete_run(run_id)

    def _send_settings(self, client: MlflowClient) -> None:
        """MLflow refuses to change a parameter: another value in a resumed run becomes a tag `resumed.<name>`."""
        from mlflow.entities import Param, RunTag

        params, known = self.state.params, self._params
        new = {name: value for name, value in params.items() if name not in known}
        wanted = self.state.tags | {KEY: self.state.key}
        wanted |= {f"resumed.{name}": value for name, value in params.items() if known.get(name, value) != value}
        tags = {name: value for name, value in wanted.items() if self._tags.get(name) != value}
        for part in parts(list(new.items()), ENTRIES_A_CALL):
            client.log_batch(str(self.stored.run_id), params=[Param(*each) for each in part])
        for part in parts(list(tags.items()), ENTRIES_A_CALL):
            client.log_batch(str(self.stored.run_id), tags=[RunTag(*each) for each in part])
        self._params, self._tags = known | new, self._tags | tags

    def _send_metrics(self, client: MlflowClient) -> None:
        if not self.with_metrics:
            return
        records, end = self._reader.read()
        missing = [metrics for metrics in self._missing(records) if metrics]
        for part in parts([metric for metrics in missing for metric in metrics], METRICS_A_CALL):
            client.log_batch(str(self.stored.run_id), metrics=part)
            self._reached = self._reached | {metric.key: metric.step for metric in part}
        self.records_sent += len(missing)
        self._reader.offset = end

    def _missing(self, records: Sequence[dict[str, float]]) -> Iterator[list[Metric]]:
        """Of each record the metrics that the store lacks. A name has one value a step: the first."""
        from mlflow.entities import Metric

        reached = dict(self._reached)
        for record in records:
            timestamp, new = round(record.get("time", 0.0) * 1000), []
            for name, value, step in values(record):
                if step > reached.get(name, -1):
                    reached[name] = step
                    new.append(Metric(name, value, timestamp, step))
            yield new

    def _send_files(self, client: MlflowClient) -> None:
        if self.state.status != RUNNING:
            self._name_in_summary()
        for path in self.unsent_files():
            source, mark = path.relative_to(self.run_dir).as_posix(), fingerprint(path)
            with without_passwords(path) as file:
                client.log_artifact(str(self.stored.run_id), str(file), self.state.files[source] or None)
            stored = Stored(self.stored.run_id, self.stored.files | {source: str(mark)})
            with self.state.changed():
                self.state.stores = self.state.stores | {self._address: stored}
            self.files_sent += 1

    def _name_in_summary(self) -> None:
        """A summary that was written before the run had an id learns it here: reports know by it what they have."""
        path = self.run_dir / "summary.json"
        summary = read_json(path)
        if summary.get("mlflow_run_id", "") is None:
            with contextlib.suppress(OSError):
                write_json(path, summary | {"mlflow_run_id": self.stored.run_id})

    def _send_status(self, client: MlflowClient) -> None:
        status, run_id = self.state.status, str(self.stored.run_id)
        if status == self._status:
            return
        if status == RUNNING:
            client.update_run(run_id, status=status)
        else:
            client.set_terminated(run_id, status=status, end_time=self.state.ended)
        self._status = status


def values(record: dict[str, float]) -> Iterator[tuple[str, float, int]]:
    """Name in MLflow, value and step of a record's metrics. MLflow takes none that are not finite."""
    for name, value in record.items():
        if name not in ("step", "time") and isinstance(value, int | float) and math.isfinite(value):
            yield entity_name(name), float(value), int(record["step"])


def fingerprint(path: Path) -> str | None:
    """Changes when the file does; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return f"{stat.st_size} bytes at {stat.st_mtime_ns}"


def parts(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """The items, at most `size` at a time."""
    left = iter(items)
    while part := list(islice(left, size)):
        yield part
