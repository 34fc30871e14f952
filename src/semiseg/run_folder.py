"""The folder of one run: refused when it holds another run, checked for writing before anything is computed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from semiseg.errors import CheckpointError, ConfigError
from semiseg.tracking.local import write_text


class RunFolder:
    """`.hydra/`, `checkpoints/`, `metrics.jsonl`, `log.txt` and `summary.json` of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.summary = path / "summary.json"

    def open(self, resume: bool) -> None:
        """Make the folder. Raises ConfigError when it holds a run already or cannot be written, and CheckpointError
        when there is nothing to resume."""
        latest = self.checkpoints / "latest_checkpoint.pth"
        if resume and not latest.is_file():
            raise CheckpointError(
                f"{latest} does not exist, so there is nothing to resume. Leave out resume=true to start."
            )
        if not resume and (latest.exists() or self.summary.exists()):
            way = (
                f"Continue it with resume=true name={self.path.name}"
                if latest.exists()
                else "It has no checkpoint to continue from: remove the folder"
            )
            raise ConfigError(f"{self.path} holds a run already. {way}, or give another name=.")
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            probe = self.checkpoints / ".probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise ConfigError(
                f"Cannot write to {self.path}: {error.strerror}. Give another folder with output=PATH."
            ) from error

    def write_config(self, config: DictConfig, overrides: list[str]) -> None:
        """`.hydra/config.yaml` and `.hydra/overrides.yaml`, enough to run it again."""
        write_text(self.path / ".hydra" / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
        write_text(self.path / ".hydra" / "overrides.yaml", OmegaConf.to_yaml(overrides))


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
