"""The verb `train`: one run from its config to its summary."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from semiseg.config import check_missing, settings, ungrouped
from semiseg.console import make_console
from semiseg.engine import checkpoint as files
from semiseg.engine.settings import RunConfig
from semiseg.errors import CheckpointError, ConfigError, SemisegError
from semiseg.reproduce import Original
from semiseg.run import Run
from semiseg.run_folder import RunFolder


def main(config: DictConfig) -> float:
    """Train what the config describes; the best validation mIoU, for sweepers.

    Raises a SemisegError for every mistake a user can make, before anything is overwritten.
    """
    hydra = HydraConfig.get()
    folder = RunFolder(Path(hydra.runtime.output_dir))
    try:
        check_missing(config)
        config.update(vars(settings(RunConfig, ungrouped(config), "")))  # before it is checked, `no` is a text and true
        original = Original.of(config)
        if original is not None:
            config = original.config_for(config, hydra.overrides.task)
        folder.open(config.resume)
    except SemisegError:
        with suppress(OSError):  # only an empty one can be removed: Hydra has made it
            folder.path.rmdir()
        raise
    console = make_console(log_file=folder.path / "log.txt")
    for text in folder.warnings:
        console.warning(text)
    try:
        choices = dict(hydra.runtime.choices) if original is None else original.choices
        run = Run(config, folder, console, choices, original)
        return run.execute()
    except SemisegError as error:
        console.failed(error)
        raise
    except OSError as error:  # a full disk names no file
        if not folder.checkpoints.is_dir():
            raise CheckpointError(
                f"{folder.checkpoints} is gone, and with it what the run saved there. {files.GONE}"
            ) from error
        raise ConfigError(
            f"{error.filename or folder.path}: {error.strerror}. Free space or check the permissions there, or give "
            "another folder with output=PATH."
        ) from error
    finally:
        console.close()
        folder.discard_if_unused()
        folder.close()
