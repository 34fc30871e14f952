"""The verb `sync`: send MLflow what it lacks of runs whose server was away, or that were killed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console as Terminal
from rich.table import Table
from rich.text import Text

from semiseg.config import check_missing, settings, ungrouped
from semiseg.errors import ConfigError, SemisegError
from semiseg.files import read_json
from semiseg.run_folder import from_here
from semiseg.run_lock import RunLock
from semiseg.streams import tolerant
from semiseg.tracking.local import read_metrics
from semiseg.tracking.mirror import Mirror
from semiseg.tracking.naming import STATUS, hide_password, home_of, store_uri
from semiseg.tracking.reasons import reason
from semiseg.tracking.state import FILE, RUNNING, TrackingState

WIDTH = 160  # of the table where the output is a pipe or a file
NOT_SEARCHED = {"mlartifacts", "cache", "checkpoints", ".hydra"}


@dataclass
class SyncConfig:
    """What stands in conf/sync.yaml outside every group."""

    run: str


@dataclass
class StoreConfig:
    """The store to send to; null is each run's own."""

    uri: str | None = None


@dataclass
class Outcome:
    """What became of one run."""

    folder: Path
    status: str
    records: int = 0
    files: int = 0
    failure: str = ""
    unreachable: str = ""  # the store, where it did not answer at all


def main(config: DictConfig) -> None:
    """Bring the store level with a run, or with every run below a folder, and print what was sent.

    Raises SemisegError where there is nothing to send, and after the table where a run could not be sent.
    """
    check_missing(config)
    root = Path(settings(SyncConfig, ungrouped(config), "").run).expanduser()
    uri = settings(StoreConfig, config.tracking, "tracking").uri
    if uri is not None:
        uri = store_uri(uri, root)
    outcomes: list[Outcome] = []
    for folder in tracked_folders(root):
        away = {outcome.unreachable for outcome in outcomes} - {""}
        outcomes.append(sync(folder, uri, away))
    show(outcomes)
    if failed := [outcome for outcome in outcomes if outcome.failure]:
        raise SemisegError(f"{len(failed)} of {len(outcomes)} runs could not be sent. {failed[0].failure}")


def tracked_folders(root: Path) -> list[Path]:
    """The run folder `root`, or those below it. Raises SemisegError where there is none that was tracked."""
    if not root.is_dir():
        raise SemisegError(f"run={root}: there is no such folder. Give a run folder, or a folder of runs.")
    found, untracked = [], []
    for folder, subfolders, files in os.walk(root):
        if FILE in files:
            found.append(Path(folder))
        elif "metrics.jsonl" in files or "summary.json" in files:
            untracked.append(Path(folder))
        subfolders[:] = [] if FILE in files else sorted(set(subfolders) - NOT_SEARCHED)
    if not found and untracked:
        raise SemisegError(
            f"{untracked[0]} has no {FILE}: it was trained with tracking=none, or by an older version that sent its "
            "records while it ran."
        )
    if not found:
        raise SemisegError(f"run={root} holds no run: there is no metrics.jsonl in it or below it.")
    return found


def sync(folder: Path, uri: str | None, away: set[str]) -> Outcome:
    """Send one run to `uri`, or to its own store; not to one of the stores that are `away`."""
    try:
        with held(folder):
            state = TrackingState.read(folder)
            assert state is not None
            settle(state, folder)
            return send(folder, state, uri, away)
    except ConfigError:  # a training holds the folder
        return Outcome(folder, "still running, sends by itself")
    except SemisegError as error:
        return Outcome(folder, "not sent", failure=str(error))


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """No training writes to the folder meanwhile. Raises ConfigError where one does."""
    lock = RunLock(folder)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def settle(state: TrackingState, folder: Path) -> None:
    """The status of a run whose process is gone without saying how it ended."""
    if state.status != RUNNING:
        return
    summary, records = folder / "summary.json", read_metrics(folder / "metrics.jsonl")
    # A summary of before the last start tells of an earlier end.
    recent = summary.is_file() and summary.stat().st_mtime * 1000 >= state.opened
    with state.changed():
        state.status = STATUS.get(str(read_json(summary).get("status")), "KILLED") if recent else "KILLED"
        state.ended = round(records[-1].get("time", 0) * 1000) if records else state.opened


def send(folder: Path, state: TrackingState, uri: str | None, away: set[str]) -> Outcome:
    """Bring one store level with a folder."""
    uri = uri or state.uri
    address = hide_password(uri)
    if address in away:
        return Outcome(folder, "not sent", failure=f"{address} does not answer", unreachable=address)
    remedy = "Start the store and repeat the command, or name another with tracking.uri=URI."
    home = Path(state.root) if uri == state.uri else home_of(uri, folder.absolute().parent)
    mirror = Mirror(folder, state, uri, home)
    try:
        mirror.send()
    except Exception as error:
        lost = "" if mirror.experiment_id else address
        failure = f"{address}: {reason(error)}. {remedy}"
        return Outcome(folder, "not sent", mirror.records_sent, mirror.files_sent, failure, lost)
    return Outcome(folder, state.status, mirror.records_sent, mirror.files_sent)


def show(outcomes: list[Outcome]) -> None:
    """A row a run."""
    stream = tolerant(sys.stdout)
    table = Table("run", "records sent", "files sent", "status")
    for each in outcomes:
        path = from_here(each.folder).as_posix()
        table.add_row(Text(path, overflow="fold"), f"{each.records:,}", f"{each.files:,}", Text(each.status))
    Terminal(file=stream, width=None if stream.isatty() else WIDTH).print(table)
