"""What every sweep has in common: a folder, jobs that are run or continued, and a table at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from semiseg.errors import ConfigError, SemisegError
from semiseg.overrides import explain, hydra_form, key_of, override
from semiseg.run_lock import RunLock
from semiseg.shell import command, program
from semiseg.sweep.launcher import search_path
from semiseg.sweep.process import failure
from semiseg.sweep.record import FILE, Job, Sweep, continued
from semiseg.sweep.table import show, tell


class Session:
    """One command with `-m`: the sweep it starts or continues, and the launcher that runs the jobs."""

    def __init__(self, config: DictConfig, launcher: Launcher, loader: ConfigLoader) -> None:
        """`config` is the command's own, in which no value is chosen yet. Raises ConfigError for a sweep that is there
        already, and for `resume=true` where there is none."""
        self.config, self.launcher, self.loader = config, launcher, loader
        typed = typed_overrides(config)
        folder = Path(config.hydra.sweep.dir)
        if not isinstance(config.resume, bool):
            raise ConfigError(f"resume is {config.resume!r}; it must be true or false.")
        if config.resume:
            self.sweep = continued(folder, typed)
        elif (folder / FILE).is_file():
            raise ConfigError(
                f"{folder} holds a sweep already. Continue it with resume=true, or give another hydra.sweep.dir=."
            )
        else:
            self.sweep = Sweep(folder, command_of(config, typed), typed)
        self._lock = RunLock(self.sweep.path, "hydra.sweep.dir=")
        with read_write(config), open_dict(config):
            config.hydra.sweep.dir = self.sweep.path.as_posix()  # for the launcher
            # A job is composed without +sweep=WORD, where settings of that word's sweeper would be unknown.
            config.hydra.overrides.hydra = [o for o in config.hydra.overrides.hydra if not of_sweeper(o)]

    def begin(self, total: int) -> None:
        """Take over what the jobs' own folders say, and name the sweep of so many jobs.

        Raises ConfigError while another command, here or on another machine, works on the same sweep.
        """
        self.total = total
        self.sweep.path.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        for job in self.sweep.jobs:
            self.sweep.refresh(job)
        self.sweep.save()
        done = sum(job.done for job in self.sweep.jobs)
        tell(f"Sweep {self.sweep.path}: {total} jobs" + (f", {done} of them done" if done else ""))

    def run(self, jobs: Sequence[Job]) -> None:
        """Run these jobs and keep what became of them. Ctrl-C leaves a table and the way to continue."""
        jobs = [job for job in jobs if self._composes(job)]
        if not jobs:
            return
        overrides = [self._as_launched(job) for job in jobs]
        self.sweep.save()
        numbers = [job.number for job in jobs]
        returns: Sequence[JobReturn] = ()
        try:
            returns = self.launcher.launch(overrides, initial_job_idx=numbers[0])
        except KeyboardInterrupt:
            self._settle(numbers, ())
            self.show()
            done = sum(job.done for job in self.sweep.jobs)
            tell(f"Stopped: {done} of {self.total} jobs are done. Continue with: {self.again()}")
            raise
        except ConfigError:
            raise
        except Exception as error:  # a scheduler's: the jobs that ended all the same are not lost
            reason = failure(1, str(error).splitlines() or [type(error).__name__])
            self._settle(numbers, (), f"{reason} (its launcher gave up; it may still run there)")
            return
        self._settle(numbers, returns)

    def _composes(self, job: Job) -> bool:
        """Whether there is such a training. A misspelt word is told in seconds, not when its turn comes."""
        try:
            composed = self.loader.load_sweep_config(self.config, job.overrides)
            OmegaConf.to_container(composed.pseudo_label, resolve=True)  # what a recipe computes of the data's settings
        except (HydraException, OmegaConfBaseException) as error:
            job.status, job.error = "failed", explain(error, self.config.hydra.job.config_name, job.overrides)
            self.sweep.save()
            tell(f"Job {job.number} failed: {job.error}")
            return False
        return True

    def _as_launched(self, job: Job) -> list[str]:
        """The job's overrides and its folder. Jobs of one launch need not follow one another, so each is told."""
        resume = ["resume=true"] if self.sweep.make_ready(job) else []
        place = [hydra_form("hydra.sweep.dir", self.sweep.path.as_posix()), f"hydra.sweep.subdir={job.folder}"]
        return [*job.overrides, *resume, *place]

    def _settle(self, numbers: Sequence[int], returns: Sequence[JobReturn], lost: str = "") -> None:
        """What each job left, whichever launcher ran it; `lost` is said of those that left nothing."""
        self.sweep.reload()
        errors = dict(zip(numbers, map(error_of, returns), strict=False))
        for number in numbers:
            job = self.sweep.job(number)
            if job is None or job.status in ("failed", "interrupted"):
                continue
            self.sweep.refresh(job)
            error = errors.get(number) or ("" if job.done or job.status == "interrupted" else lost)
            if error:
                job.status, job.error = "failed", error
        self.sweep.save()

    def close(self) -> None:
        """Leave the sweep to the next command."""
        self._lock.release()

    def show(self) -> None:
        """The table."""
        show(self.sweep)

    def conclude(self, way: str = "") -> None:
        """The table and what to type next. Raises SemisegError when jobs failed, with `way` to have them run again."""
        self.show()
        failed = [job for job in self.sweep.jobs if not job.done]
        if failed:
            way = way or f"run them with: {self.again()}"
            raise SemisegError(
                f"{len(failed)} of {len(self.sweep.jobs)} jobs did not finish. A value that cannot be fails again: "
                f"leave it out of a new command. Once another cause is mended, {way}"
            )
        tell(f"Next: {program('compare')} {override('runs', self.sweep.path.as_posix())}")

    def again(self) -> str:
        """The command that continues this sweep."""
        return f"{self.sweep.command} resume=true"


def of_sweeper(override: str) -> bool:
    """Whether an override is about the sweeper and not about its jobs."""
    return key_of(override).startswith(("hydra.sweeper.", "hydra/sweeper"))


def typed_overrides(config: DictConfig) -> list[str]:
    """What was typed, without what Hydra adds and what continues a sweep."""
    hydra = config.hydra.overrides
    return [each for each in [*hydra.task, *hydra.hydra] if key_of(each) not in ("hydra.mode", "resume")]


def command_of(config: DictConfig, typed: Sequence[str]) -> str:
    """The command as it can be typed again."""
    flags = [each for each in search_path(config) if each not in typed]
    return f"{program('train')} {command(['-m', *flags, *typed])}"


def error_of(job: JobReturn) -> str | None:
    """Why a job failed, in one line."""
    if job.status == JobStatus.COMPLETED:
        return None
    error = job._return_value
    first = (str(error).splitlines() or [""])[0]
    return str(error) if isinstance(error, SemisegError) else f"{type(error).__name__}: {first}"
