"""The launcher of this machine: each job is a process, several at a time where asked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from semiseg.config import settings
from semiseg.errors import ConfigError, SemisegError
from semiseg.overrides import hydra_form, key_of
from semiseg.pace import clock
from semiseg.sweep.pool import Pool
from semiseg.sweep.process import JobProcess, command_line, environment, failure, gpus
from semiseg.sweep.record import FILE, Job, Sweep
from semiseg.sweep.table import score_text, tell

# By Ctrl-C, a request to end, a terminal that closed or Ctrl-Break: said so itself, or before it could, as on Windows
INTERRUPTED = (130, 143, 129, 149, -2, -15, -1, 0xC000013A)


@dataclass
class LauncherConfig:
    """`hydra.launcher` of `hydra/launcher=local`."""

    n_jobs: int = 1

    def __post_init__(self) -> None:
        if self.n_jobs < 1:
            raise ConfigError(f"hydra.launcher.n_jobs is {self.n_jobs}; it must be 1 or more.")


class JobFailed(SemisegError):
    """A job that did not end as a training should; the text is its last error line."""


class Local:
    """Runs jobs below one sweep folder and keeps sweep.json up to date after each."""

    def __init__(self, config: DictConfig, n_jobs: object) -> None:
        """Raises ConfigError for an n_jobs that is no number of jobs."""
        self.n_jobs = settings(LauncherConfig, {"n_jobs": n_jobs}, "hydra.launcher").n_jobs
        self.config = config
        self.devices: list[str] = []
        self.begun: dict[int, float] = {}

    def launch(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        """Run the jobs and wait for them. `first` numbers them where `hydra.sweep.subdir` does not."""
        self.sweep = opened(Path(self.config.hydra.sweep.dir))
        numbers = [number_of(overrides, first + n) for n, overrides in enumerate(job_overrides)]
        self.typed = dict(zip(numbers, job_overrides, strict=True))
        jobs = [self.sweep.job(n) or self.sweep.add(of_the_task(self.typed[n]), [], n) for n in numbers]
        self.sweep.save()
        self.devices = gpus() if self.n_jobs > 1 else []
        Pool(self.n_jobs, self._start, self._ended).run(jobs)
        return [self._return(job) for job in jobs]

    def _start(self, job: Job, slot: int) -> JobProcess:
        folder, attached = self.sweep.folder(job), self.n_jobs == 1
        place = "" if attached else f" -> {folder / 'log.txt'}"
        tell(f"Job {job.number} starts: {job.name}{place}")
        run_dir = hydra_form("hydra.run.dir", folder.as_posix())
        command = command_line(
            self.config.hydra.job.config_name, of_the_task(self.typed[job.number]), run_dir, search_path(self.config)
        )
        running = JobProcess(command, environment(slot, self.n_jobs, self.devices), attached)
        job.status, job.pid, job.error = "running", running.pid, None
        self.begun[job.number] = time.monotonic()
        try:
            self.sweep.save()
        except BaseException:  # nobody knows of it yet
            running.kill()
            raise
        return running

    def _ended(self, job: Job, running: JobProcess) -> None:
        seconds = time.monotonic() - self.begun[job.number]
        job.seconds, job.pid = job.seconds + seconds, None
        self.sweep.refresh(job)
        self._judge(job, running.poll() or 0, running.complaints())
        self.sweep.save()
        outcome = job.error or f"val mIoU {score_text(job.best_val_miou)}"
        tell(f"Job {job.number} {job.status} after {clock(seconds)}: {outcome}")

    def _judge(self, job: Job, status: int, complaints: list[str]) -> None:
        """What the process' exit status says, over what an earlier attempt may have left in the summary."""
        said = self.sweep.path / f"{job.folder}_error.txt"
        said.unlink(missing_ok=True)
        if status in INTERRUPTED:
            job.status = "interrupted"
        elif status:
            job.status, job.error = "failed", failure(status, complaints)
            if len(complaints) > 1:  # a traceback
                said.write_text("\n".join(complaints) + "\n", encoding="utf-8", errors="backslashreplace")
                job.error += f" (more in {said})"
        elif not self.sweep.summary(job):
            job.status, job.error = "failed", "it ended without a summary.json"

    def _return(self, job: Job) -> JobReturn:
        if job.done:
            score = float("nan") if job.best_val_miou is None else job.best_val_miou
            return JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED, _return_value=score)
        error = JobFailed(job.error or job.status)
        return JobReturn(overrides=job.overrides, status=JobStatus.FAILED, _return_value=error)


def opened(folder: Path) -> Sweep:
    """The record that the sweeper wrote, or a new one for a sweeper that writes none."""
    return Sweep.read(folder) if (folder / FILE).is_file() else Sweep(folder, command="", overrides=[])


def number_of(overrides: Sequence[str], otherwise: int) -> int:
    """The job's number, which the sweeper gives as the folder."""
    typed = {key_of(override): override.partition("=")[2] for override in overrides}
    return int(typed.get("hydra.sweep.subdir", otherwise))


def of_the_task(overrides: Sequence[str]) -> list[str]:
    """The overrides that are the training's own, not Hydra's."""
    return [override for override in overrides if not key_of(override).startswith(("hydra.", "hydra/"))]


def search_path(config: DictConfig) -> list[str]:
    """The options that let a job find the recipes of other folders, as this command was told."""
    sources = config.hydra.runtime.config_sources
    folders = [f"--config-dir={source.path}" for source in sources if source.provider == "command-line"]
    return folders + [each for each in config.hydra.overrides.hydra if key_of(each) == "hydra.searchpath"]
