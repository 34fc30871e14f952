"""The folder of one run: refused when it holds another run or is in use, checked for writing before anything is
computed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import uuid
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from semiseg.checkpoint_names import best_weights, full_checkpoints
from semiseg.config import recipe_dirs
from semiseg.errors import CheckpointError, ConfigError
from semiseg.files import write_text
from semiseg.overrides import hydra_form
from semiseg.run_lock import RunLock
from semiseg.shell import command

IDENTITY = re.compile("[0-9a-f]{32}")
WITHOUT_RESULT = ("interrupted", "failed")  # unless it left weights


class RunFolder:
    """`.hydra/`, `checkpoints/`, `metrics.jsonl`, `log.txt` and `summary.json` of a run, or of one job of a sweep."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sweep = is_job(path)
        self.checkpoints = path / "checkpoints"
        self.summary = path / "summary.json"
        self.identity = uuid.uuid4().hex  # its checkpoints are sealed with it, so that those of other runs are told
        self.warnings: list[str] = []  # of `open`, which comes before there is a console
        self._lock = RunLock(path)

    @property
    def resumable(self) -> bool:
        """Whether there is a checkpoint file to continue from."""
        return bool(full_checkpoints(self.checkpoints))

    def open(self, resume: bool) -> None:
        """Make the folder and lock it. Raises ConfigError when it holds a run already, is in use or cannot be written,
        and CheckpointError when there is nothing to resume."""
        try:
            if self.path.is_dir():
                self._lock.acquire()
            self._check(resume)
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            probe = self.checkpoints / ".probe"
            probe.write_bytes(b"")
            probe.unlink()
            self._lock.acquire()
        except OSError as error:
            self.close()
            raise ConfigError(
                f"Cannot write to {self.path}: {error.strerror}. Give another folder with output=PATH."
            ) from error
        except BaseException:
            self.close()
            raise
        self._remove_parts()
        if resume:
            self.identity = stored_identity(self.path) or self._sealed_identity() or self.identity

    def _check(self, resume: bool) -> None:
        if in_the_way := [path for path in self.checkpoints.glob("*.pth*") if path.is_dir()]:
            raise ConfigError(f"{in_the_way[0]} is a folder, and the run writes a file of that name. Move it away.")
        if resume and not (self.resumable or best_weights(self.checkpoints)):
            raise CheckpointError(
                f"{self.checkpoints} holds no checkpoint, so there is nothing to resume. "
                "Leave out resume=true to start."
            )
        if not resume and (self.resumable or self._has_result()):
            raise ConfigError(f"{self.path} holds a run already. {self._way_on()}, or give another name=.")
        if not resume:  # of a run that was stopped before it had anything to keep
            self.summary.unlink(missing_ok=True)

    def _way_on(self) -> str:
        if self.resumable:
            return f"Continue it with {self.resumption()}"
        if best_weights(self.checkpoints):
            return f"Only its best weights are left: start from them with {self.resumption()}"
        return "It has no checkpoint to continue from: remove the folder"

    def _has_result(self) -> bool:
        """Whether there is anything to keep: weights, or the summary of a run that was not stopped before it had."""
        if best_weights(self.checkpoints):
            return True
        try:
            return json.loads(self.summary.read_text(encoding="utf-8"))["status"] not in WITHOUT_RESULT
        except FileNotFoundError:
            return False
        except (ValueError, KeyError, TypeError, RecursionError):
            return True

    def _remove_parts(self) -> None:
        """What a killed process was writing: a part of a checkpoint may be half a gigabyte."""
        for part in [*self.checkpoints.glob("*.pth.tmp"), *self.path.glob("*.part")]:
            part.unlink(missing_ok=True)

    def _sealed_identity(self) -> str | None:
        """The one that all checkpoints are sealed with; None where they are of several runs, or of older versions."""
        from semiseg.tensor_file import run_of  # here, because PyTorch is heavy and few folders need it

        runs: set[str | None] = set()
        for path in [*full_checkpoints(self.checkpoints), *best_weights(self.checkpoints)]:
            with suppress(OSError):  # what cannot be read is told when it is to be continued from
                runs.add(run_of(path))
        runs.discard(None)
        if len(runs) != 1:
            return None
        self.warnings.append(f"{self.path / '.hydra' / 'identity'} was lost: it is taken from the checkpoints' seals.")
        return runs.pop()

    def close(self) -> None:
        """Let other processes have it. Safe to call twice."""
        self._lock.release()

    def resumption(self) -> str:
        """The overrides that continue this run: its name, and where it is unless that is the default place.

        A job of a sweep is continued alone by its folder; the sweep's own command with resume=true continues them all.
        """
        if self.sweep:
            return command(
                ["resume=true", hydra_form("hydra.run.dir", from_here(self.path).as_posix()), *recipe_dirs()]
            )
        words = ["resume=true", hydra_form("name", self.path.name)]
        experiment, output = self.path.parent, self.path.parent.parent.resolve()
        if experiment.name != "semiseg":
            words.append(hydra_form("experiment_name", experiment.name))
        if output != Path.cwd() / "runs":
            words.append(hydra_form("output", from_here(output).as_posix()))
        return command([*words, *recipe_dirs()])

    def varied(self) -> list[str]:
        """The overrides in which the jobs of its sweep differ; none where it is no job, or the only one."""
        try:
            sweep = json.loads((self.path.parent / "sweep.json").read_text(encoding="utf-8"))
            return next(job["varied"] for job in sweep["jobs"] if job["folder"] == self.path.name)
        except (OSError, ValueError, KeyError, StopIteration):
            return []

    def discard_if_unused(self) -> None:
        """Remove the folder of a run that was refused before it wrote anything but its log."""
        if not self.path.is_dir():
            return
        left = {path.name for path in self.path.iterdir()} - {"log.txt", ".lock", ".owner.json"}
        if left <= {"checkpoints"} and not any(self.checkpoints.glob("*")):
            self.close()
            shutil.rmtree(self.path, ignore_errors=True)

    def write_config(self, config: DictConfig, overrides: list[str]) -> None:
        """`.hydra/config.yaml` and `.hydra/overrides.yaml`, enough to run it again, and which run it is."""
        hydra = self.path / ".hydra"
        write_text(hydra / "config.yaml", OmegaConf.to_yaml(config, resolve=True), durable=True)
        write_text(hydra / "overrides.yaml", OmegaConf.to_yaml(overrides), durable=True)
        write_text(hydra / "identity", self.identity + "\n", durable=True)


def from_here(path: Path) -> Path:
    """A path as it is typed in the working directory."""
    path, here = path.resolve(), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def is_job(path: Path) -> bool:
    """Whether a run folder is that of a job of a sweep."""
    return (path.parent / "sweep.json").is_file()


def git_commit() -> str | None:
    """Commit of the checkout this package runs from, with "+changes" when files differ from it; None outside git."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=10)
        changes = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], cwd=here, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if commit.returncode:
        return None
    return commit.stdout.strip() + ("+changes" if changes.stdout.strip() else "")


def stored_identity(folder: Path) -> str | None:
    """Of the run in a folder; None for one of a version that wrote none, and where the file was emptied or damaged."""
    file = folder / ".hydra" / "identity"
    text = file.read_text(encoding="ascii", errors="replace").strip() if file.is_file() else ""
    return text if IDENTITY.fullmatch(text) else None
