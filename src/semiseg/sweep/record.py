"""sweep.json: the jobs of a sweep and what became of each, so that the sweep can be told of and continued."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import psutil

from semiseg.checkpoint_names import full_checkpoints
from semiseg.errors import ConfigError
from semiseg.files import read_json, write_json
from semiseg.overrides import key_of
from semiseg.run_lock import RunLock, how_to_end

FILE = "sweep.json"
DONE = ("finished", "stopped early")
# What may differ between the command that started a sweep and the one that continues it.
FREE_KEYS = ("resume", "hydra.mode", "hydra/launcher", "hydra.sweeper.n_trials", "hydra.sweep.dir")


@dataclass
class Job:
    """One training of a sweep. `folder` is its run folder, seen from the sweep's."""

    number: int
    overrides: list[str]
    varied: list[str]  # those of the overrides in which the jobs differ
    folder: str
    status: str = "waiting"  # then running, finished, stopped early, interrupted or failed
    error: str | None = None
    best_val_miou: float | None = None
    seconds: float = 0.0  # wall time of its process, all attempts together
    pid: int | None = None  # of the process while it runs

    @property
    def name(self) -> str:
        """What tells it apart, for tables."""
        return " ".join(self.varied or self.overrides) or "the defaults"

    @property
    def done(self) -> bool:
        return self.status in DONE


@dataclass
class Sweep:
    """A folder with one run folder a job, and sweep.json, which is written whole after each change."""

    path: Path
    command: str
    overrides: list[str]  # as typed
    jobs: list[Job] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Sweep:
        """The sweep of a folder. Raises ConfigError when its sweep.json cannot be read."""
        file = path / FILE
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            return cls(path, data["command"], data["overrides"], [job_of(row) for row in data["jobs"]])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{file} is no record of a sweep ({error}). Start the sweep anew.") from error

    def reload(self) -> None:
        """The jobs as another holder of the record left them."""
        self.jobs = Sweep.read(self.path).jobs

    def save(self) -> None:
        """Write sweep.json."""
        data = {"command": self.command, "overrides": self.overrides, "jobs": [asdict(job) for job in self.jobs]}
        write_json(self.path / FILE, data, durable=True)

    def job(self, number: int) -> Job | None:
        """The job of this number, if there is one."""
        return next((job for job in self.jobs if job.number == number), None)

    def add(self, overrides: Sequence[str], varied: Sequence[str], number: int | None = None) -> Job:
        """Another job that waits. It is not saved yet."""
        number = max((job.number for job in self.jobs), default=-1) + 1 if number is None else number
        job = Job(number, list(overrides), list(varied), str(number))
        self.jobs.append(job)
        return job

    def folder(self, job: Job) -> Path:
        """The job's run folder."""
        return self.path / job.folder

    def summary(self, job: Job) -> dict[str, Any]:
        """The job's summary.json; empty where there is none yet."""
        return read_json(self.folder(job) / "summary.json")

    def refresh(self, job: Job) -> None:
        """Take over what the job's own folder says: it may have been continued alone."""
        summary = self.summary(job)
        if not summary:
            if job.done:  # its folder was deleted
                job.status, job.best_val_miou = "waiting", None
            return
        job.status, job.best_val_miou = str(summary.get("status", "failed")), summary.get("best_val_miou")
        job.seconds = job.seconds or float(summary.get("train_seconds") or 0.0)
        if job.done:
            job.error = None

    def make_ready(self, job: Job) -> bool:
        """Before a job starts: whether it has a checkpoint to continue from. What a start without one left is removed.

        Raises ConfigError when a process of an earlier command still trains in the folder, here or on another machine.
        """
        folder = self.folder(job)
        if job.pid is not None and still_runs(job.pid, folder):
            raise ConfigError(
                f"Job {job.number} of {self.path} still runs as process {job.pid}. Wait for it, or "
                f"{how_to_end(job.pid)}"
            )
        job.status, job.error, job.pid = "waiting", None, None
        if full_checkpoints(folder / "checkpoints"):
            return True
        if folder.is_dir():
            lock = RunLock(folder)
            lock.acquire()
            lock.release()
            shutil.rmtree(folder, ignore_errors=True)
        return False


def job_of(row: dict[str, Any]) -> Job:
    """A job from its row in sweep.json; keys of other versions are passed over."""
    known = {each.name for each in fields(Job)}
    return Job(**{key: value for key, value in row.items() if key in known})


def still_runs(pid: int, folder: Path) -> bool:
    """Whether this process is there and is the training of this folder: numbers of ended processes are used again."""
    try:
        line = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return any(key_of(word) == "hydra.run.dir" and folder.as_posix() in word for word in line)


def comparable(overrides: Iterable[str]) -> list[str]:
    """The overrides that make two commands the same sweep, in an order of their own."""
    return sorted(o for o in overrides if key_of(o) not in FREE_KEYS and not o.startswith("hydra.launcher."))


def continued(folder: Path, overrides: Sequence[str]) -> Sweep:
    """The sweep of `folder` where that is typed, else the newest beside it; in both cases one of these overrides.

    Raises ConfigError when there is none.
    """
    if not any(key_of(each) == "hydra.sweep.dir" for each in overrides):
        return newest(folder.parent, overrides)
    if not (folder / FILE).is_file():
        raise ConfigError(f"resume=true: {folder} holds no sweep. Leave out resume=true to start one there.")
    sweep = Sweep.read(folder)
    if comparable(sweep.overrides) != comparable(overrides):
        raise ConfigError(f"resume=true: {folder} was started with other overrides:\n  {sweep.command}")
    return sweep


def newest(folder: Path, overrides: Iterable[str]) -> Sweep:
    """The sweep below `folder` with these overrides that was last worked on.

    Raises ConfigError when there is none, naming the sweeps that are there.
    """
    sweeps, unread = [], []
    for file in sorted(folder.glob(f"*/{FILE}"), key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            sweeps.append(Sweep.read(file.parent))
        except ConfigError as error:
            unread.append(str(error))
    wanted = comparable(overrides)
    for sweep in sweeps:
        if comparable(sweep.overrides) == wanted:
            return sweep
    there = "".join(f"\n  {line}" for line in [*(sweep.command for sweep in sweeps[:3]), *unread]) or " none at all"
    raise ConfigError(
        f"resume=true: no sweep in {folder} was started with these overrides. Leave out resume=true to start. "
        f"Those there, the newest first:{there}"
    )
