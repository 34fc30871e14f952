"""tracking.json of a run folder: what an MLflow store is to hold of the run, and what each store is known to have.

Metrics are not in it: metrics.jsonl is their record, and the store itself says how far it has them.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from semiseg.errors import SemisegError
from semiseg.files import write_json

FILE = "tracking.json"
RUNNING = "RUNNING"


@dataclass
class Stored:
    """A run in one store: its id, and the files that it has, with the size and time of change that they had."""

    run_id: str | None = None
    files: dict[str, str] = field(default_factory=dict)


@dataclass
class TrackingState:
    """The description of a tracked run, written whole after each `changed` block.

    The training describes the run and a sender's thread writes down what is stored, so values are replaced and never
    changed in place. `key` is a tag of the run, by which a run is found again whose creation was not answered.
    """

    uri: str = ""
    root: str = ""  # the folder of mlartifacts, where the store is no server
    experiment: str = ""
    name: str = ""
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    former: list[str] = field(default_factory=list)  # keys of earlier attempts in the folder, which this run replaces
    status: str = RUNNING  # or FINISHED, FAILED, KILLED
    started: int = 0  # milliseconds, when the run was made
    opened: int = 0  # when it was last started or resumed
    ended: int | None = None
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)  # path in the run folder -> folder in the store
    stores: dict[str, Stored] = field(default_factory=dict)  # by address without its password

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._path: Path | None = None

    @classmethod
    def read(cls, run_dir: Path) -> TrackingState | None:
        """The state of a run folder; None where it has none. Raises SemisegError for a damaged file."""
        path = run_dir / FILE
        try:
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            known = {f.name for f in fields(cls)}
            state = cls(**{key: value for key, value in data.items() if key in known})
            stores: dict[str, Any] = data["stores"]
            state.stores = {address: Stored(each["run_id"], each["files"]) for address, each in stores.items()}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise SemisegError(
                f"{path} cannot be read ({error}). Mend it, or resume the run: that writes it anew."
            ) from error
        state._path = path
        return state

    @classmethod
    def open(cls, run_dir: Path, anew: bool = False) -> TrackingState:
        """The state of a run folder; a new one where there is none that can be read, or for a run that begins anew."""
        found = None
        with contextlib.suppress(SemisegError):
            found = cls.read(run_dir)
        if found is not None and not anew:
            return found
        state = cls(started=now(), former=[*found.former, found.key] if found else [])
        state._path = run_dir / FILE
        return state

    @contextlib.contextmanager
    def changed(self) -> Iterator[None]:
        """Change values inside; the file is written at the end."""
        with self._lock:
            yield
            # On a full disk the old file stays. It costs a file that is sent again; the next change writes this too.
            with contextlib.suppress(OSError):
                if self._path is not None:
                    write_json(self._path, asdict(self))


def now() -> int:
    """The present time in milliseconds, as MLflow counts it."""
    return round(time.time() * 1000)
