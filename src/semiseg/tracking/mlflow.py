"""MLflow as a mirror of the run folder: a local SQLite store by default, any tracking URI by `tracking.uri=`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from semiseg.files import write_bytes
from semiseg.overrides import override
from semiseg.run_folder import from_here
from semiseg.tracking import view
from semiseg.tracking.base import logger
from semiseg.tracking.connection import quiet_mlflow
from semiseg.tracking.mirror import Mirror
from semiseg.tracking.naming import SQLITE, entity_name, flatten, hide_password, store_uri
from semiseg.tracking.sender import Sender
from semiseg.tracking.state import RUNNING, Stored, TrackingState, now

WAKE_AT = 500  # metrics; one call for 500 costs about as much as five calls for 20
TOLD_AFTER = 2  # attempts that failed in a row; a single one may be a hiccup
PATIENCE, QUIET = 20.0, 3.0  # seconds at the end of a run for a store that is slow, and how many of them go unsaid
UPLOAD = 5e6  # bytes a second that a store is given for the files of a run


class MLflowTracker:
    """Tracks one run. The calling thread writes to the run folder alone; a `Sender` mirrors the folder.

    A store that is away, slow or full costs a warning: what it lacks is sent when it is back, or by `semiseg sync`.
    """

    def __init__(self, experiment_name: str, uri: str | None = None, root: str | Path = "runs") -> None:
        """`root` is the folder of mlflow.db (with `uri` null) and of mlartifacts.

        Raises ConfigError for a URI that MLflow cannot use.
        """
        self._root = Path(root).expanduser().absolute()
        self._uri = store_uri(uri, self._root)
        self._experiment_name = experiment_name
        self._run_dir = Path()
        self._warn: Callable[[str], None] = logger.warning
        self._state: TrackingState | None = None
        self._mirror: Mirror | None = None
        self._sender: Sender | None = None
        self._waiting = 0  # metrics since the sender was woken
        self._told = False

    @property
    def run_id(self) -> str | None:
        return None if self._mirror is None else self._mirror.stored.run_id

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
        if self._mirror is None or self._mirror.experiment_id is None:
            return ""
        server = hide_password(self._uri) if self._uri.startswith("http") else "http://127.0.0.1:5000"
        return server.rstrip("/") + view.page(self._mirror.experiment_id)

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
        self._warn, self._run_dir = warn, run_dir
        self._state = state = TrackingState.open(run_dir, anew)
        address = hide_password(self._uri)
        with state.changed():
            state.uri, state.root, state.experiment = self._uri, str(self._root), self._experiment_name
            state.name, state.tags = run_name, dict(tags)
            state.status, state.opened, state.ended = RUNNING, now(), None
            if run_id is not None and address not in state.stores:  # of a run that had no tracking.json yet
                state.stores = state.stores | {address: Stored(run_id)}
        quiet_mlflow()
        # Here and not in the sender's thread: loader workers that are forked in the middle of an import may hang.
        import mlflow  # noqa: F401

        self._mirror = Mirror(run_dir, state, self._uri, self._root)
        self._mirror.with_metrics = False
        self._sender = Sender(self._mirror)
        if self._uri.startswith(SQLITE):  # a file answers at once, and then the run has its id from the start
            self._sender.attempt()
        self._sender.start()
        self._sender.wake()

    def log_params(self, params: Mapping[str, object]) -> None:
        if self._state is not None:
            with self._state.changed():
                self._state.params = flatten(params)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """The values are read from metrics.jsonl, which has them already: this only counts them."""
        if self._mirror is not None:
            self._mirror.with_metrics = True
        self._waiting += len(metrics)
        if self._waiting >= WAKE_AT:
            self.flush()

    def flush(self) -> None:
        """Wake the sender, and say what has become of the store meanwhile."""
        self._waiting = 0
        if self._sender is not None:
            self._sender.wake()
            self._tell_of(self._sender)

    def _tell_of(self, sender: Sender) -> None:
        """Warn in the calling thread of what the sender came upon."""
        self._pass_on(sender.mirror.notes)
        if sender.failures >= TOLD_AFTER and not self._told:
            self._told = True
            self._warn(
                f"tracking paused: {self.location}: {sender.reason}. The training goes on; its metrics are in "
                f"{self._run_dir / 'metrics.jsonl'} and are sent when the store is back"
            )

    def _pass_on(self, notes: list[str]) -> None:
        while notes:
            self._warn(notes.pop(0))

    def log_artifact(self, path: Path, folder: str = "") -> None:
        if self._state is not None:
            source = path.absolute().relative_to(self._run_dir.absolute()).as_posix()
            with self._state.changed():
                self._state.files = self._state.files | {source: folder}

    def log_figure(self, image: np.ndarray, name: str) -> None:
        if self._state is not None:
            path = self._run_dir / "figures" / f"{entity_name(name)}.png"
            _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            try:
                write_bytes(path, data.tobytes())
            except OSError as error:
                self._warn(f"{path} cannot be written: {error.strerror}")
            self.log_artifact(path, path.parent.relative_to(self._run_dir).as_posix())

    def finish(self, status: str) -> None:
        """Waits for the store, but not for long: what it lacks then is left to `semiseg sync`."""
        if self._state is None or self._sender is None:
            return
        with self._state.changed():
            self._state.status, self._state.ended = status, now()
        sender, self._sender = self._sender, None
        sender.mirror.with_metrics = True
        sender.close()
        patience = PATIENCE + sum(path.stat().st_size for path in sender.mirror.unsent_files()) / UPLOAD
        sender.join(QUIET)
        if sender.is_alive():
            self._warn(f"{self.location} is slow: waiting {patience - QUIET:.0f} s at most for {left(sender.mirror)}")
            sender.join(patience - QUIET)
        self._pass_on(sender.mirror.notes)
        if not sender.mirror.complete:
            self._warn(
                f"tracking stopped: {left(sender.mirror)} not sent to {self.location}: {sender.reason or 'it is slow'}"
                f"; metrics are in {self._run_dir / 'metrics.jsonl'}. Send the rest with: semiseg sync "
                f"{override('run', from_here(self._run_dir).as_posix())}"
            )


def left(mirror: Mirror) -> str:
    """What the store lacks, in words."""
    counts = {"records": mirror.unsent_records(), "files": len(mirror.unsent_files())}
    return " and ".join(f"{count} {what}" for what, count in counts.items() if count) or "the status"
