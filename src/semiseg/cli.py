"""`semiseg VERB`: one entry point for every command; `train.py` and `compare.py` call it too."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import uuid
from datetime import datetime
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from semiseg.config import conf_dir
from semiseg.errors import ConfigError, SemisegError
from semiseg.overrides import (
    MULTIRUN,
    check_files,
    check_flags,
    check_groups,
    check_names,
    check_sweeps,
    explain,
    flags_first,
    names_as_typed,
)
from semiseg.reproduce import with_original
from semiseg.schema import shown
from semiseg.stored import with_stored

VERBS = {
    "train": ("semiseg.train", "train one system, or several with -m"),
    "inspect": ("semiseg.inspection", "look at a data set before training on it"),
    "predict": ("semiseg.prediction", "predict the classes of images, folders and rasters"),
    "patchify": ("semiseg.patchify", "cut base images and their masks into patches"),
    "compare": ("semiseg.report.compare", "put finished runs side by side"),
    "evaluate": ("semiseg.evaluation", "hold a trained run, or an ensemble, against the truth"),
    "export": ("semiseg.export", "write a trained run as ONNX, torch.export or INT8"),
    "register": ("semiseg.registry", "make a trained run a version in the MLflow model registry"),
    "serve": ("semiseg.serve", "open a page that predicts the images dropped on it"),
    "history": ("semiseg.history_plot", "draw the course of one run"),
    "sync": ("semiseg.tracking.sync", "send MLflow what it lacks of a run"),
}


OUT = {"train": "output", "register": "output", "sync": "run"}  # where a verb writes, `out` for all others
DISK = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # full, or a quota used up; such an error names no file


def usage() -> str:
    """What `semiseg` prints without a verb."""
    rows = "\n".join(f"  semiseg {verb:<10}{what}" for verb, (_, what) in VERBS.items())
    return f"Usage: semiseg VERB [OVERRIDE ...]\n\n{rows}\n\n`semiseg VERB --help` explains each."


def run_name(prefix: str) -> str:
    """A folder name that two runs of one second do not share."""
    return f"{prefix}-{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"


def shifted(by: float, *, _root_: DictConfig) -> Any:
    """`${shifted:-0.1}`: the data set's class thresholds, all raised by `by` and kept within 0 and 0.99.

    A class without a threshold stays without. Raises ConfigError for a data set without any.
    """

    def shift(threshold: float | None) -> float | None:
        return None if threshold is None else round(min(max(threshold + by, 0.0), 0.99), 4)

    thresholds = _root_.data.class_thresholds
    if thresholds is None:
        raise ConfigError("data.class_thresholds is null: there are no thresholds of classes to shift. Give some.")
    if isinstance(thresholds, DictConfig):
        return {name: shift(threshold) for name, threshold in thresholds.items()}
    return [shift(threshold) for threshold in thresholds]


def register_resolvers() -> None:
    """What the recipes call in `${NAME:...}`."""
    OmegaConf.register_new_resolver("run_name", run_name, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("shifted", shifted, replace=True)


def main(argv: list[str] | None = None) -> None:
    """Run a verb with Hydra overrides; exits non-zero with one clear message on a user's mistake."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return
    verb, overrides = arguments[0], arguments[1:]
    if verb not in VERBS:
        sys.exit(f"semiseg: no verb {verb!r}.\n\n{usage()}")
    sys.exit(run_verb(verb, overrides))


def run_verb(verb: str, overrides: list[str]) -> int:
    """Compose `conf/VERB.yaml` with the overrides and call the verb's `main`; the exit status."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing its own traceback and exiting
    register_resolvers()
    failures: list[str] = []

    def job(config: DictConfig) -> Any:
        """One job of the verb. Alone it raises nothing expected: Hydra would print a line of its own about it."""
        register_resolvers()  # a scheduler runs this in a process that has not called run_verb
        try:
            return importlib.import_module(VERBS[verb][0]).main(config)
        except (SemisegError, OSError) as error:
            text = unwritable(error, verb) if isinstance(error, OSError) else str(error)
            if text is None or HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # a bug keeps its traceback; what happens to a job is reported by its sweep
            failures.append(text)
            complain(text)
            return None

    try:
        check_flags(overrides)
        if verb != "train" and any(typed in MULTIRUN for typed in overrides):
            raise ConfigError(f"semiseg {verb} does one thing at a time: leave out -m.")
        check_files(overrides)
        check_groups(overrides)
        check_names(overrides)
        check_sweeps(overrides)
        sys.argv = [f"semiseg {verb}", *flags_first(names_as_typed(with_original(with_stored(overrides))))]
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=verb)(job)()
    except SemisegError as error:
        return complain(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        return complain(explain(error, verb, overrides))
    except OSError as error:
        if (text := unwritable(error, verb)) is None:
            raise
        return complain(text)
    except KeyboardInterrupt as stop:
        return getattr(stop, "status", 130)
    return 1 if failures else 0


def unwritable(error: OSError, verb: str) -> str | None:
    """What a disk or folder refused, and what to do; None where the error does not tell."""
    if error.filename is None and error.errno not in DISK:
        return None
    what = "A file" if error.filename is None else shown(error.filename)
    if error.errno == errno.ENAMETOOLONG:
        shorter = "Give short words for experiment_name= and name=" if verb == "train" else "Give it a shorter name"
        return f"{what}: {error.strerror}. {shorter}."
    space = "Free space, or give" if error.errno in DISK else "Give"
    return f"{what}: {error.strerror}. {space} a folder that can be written with {OUT.get(verb, 'out')}=PATH."


def complain(text: str) -> int:
    """Print an expected failure to standard error; 1, the exit status."""
    print(f"semiseg: {text}", file=sys.stderr)
    return 1
