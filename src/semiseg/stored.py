"""What a run folder holds of its config: what the run was started with, and what may be built of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping
from inspect import isclass
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import BooleanNode
from omegaconf.errors import OmegaConfBaseException

from semiseg.errors import ConfigError
from semiseg.overrides import MULTIRUN, key_of, override
from semiseg.schema import one_line, shown, target_of

OVERRIDES = Path(".hydra", "overrides.yaml")  # below the folder of a run
OVERRIDE = re.compile(r"[^=\s]+=|~.")  # how one begins
PACKAGE = "semiseg"
TARGET = re.compile(r"""^\s*(?:-\s+)?_target_:\s*["']?([\w.]+)""", re.MULTILINE)


def stored_overrides(run: Path) -> list[str]:
    """What a run was started with.

    Raises ConfigError for a file that is missing or damaged: the run would go on as another one.
    """
    file = run / OVERRIDES
    remedy = (
        f"what the run was started with is not known. Write it into {file}, one a line, such as '- model=v3', or '[]' "
        "for nothing; config.yaml beside it shows the settings."
    )
    try:
        stored = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file} is missing: {remedy}") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} cannot be read ({one_line(error)}): {remedy}") from None
    if not isinstance(stored, list) or not all(isinstance(each, str) and OVERRIDE.match(each) for each in stored):
        raise ConfigError(f"{file} is damaged, it holds {shown(stored)}: {remedy}")
    return stored


def check_targets(tree: Mapping[str, Any], file: Path) -> None:
    """Hold every `_target_` in the resolved config of `file` against the classes that it may build: a run folder from
    elsewhere could name any function there is.

    These are the project's own, those derived from them in a module that the program has imported already, and those
    that a recipe in the user's `--config-dir` names. Raises ConfigError, without importing it, for every other.
    """
    named = named_in_recipes()
    for where, value in leaves(tree):
        if where.endswith("_target_") and value not in named and not is_ours(value, where.rpartition(".")[0]):
            raise ConfigError(
                f"{file}: {where} is {shown(value)}, which is no class of {PACKAGE}, and a stored run may build no "
                "other. For a class of your own, give --config-dir=FOLDER with the folder of the recipe that names it."
            )
        if isinstance(value, str) and "${" in value:  # what was escaped would be resolved when it is built
            raise ConfigError(f"{file}: {where} is {shown(value)}; a stored config holds plain values alone.")


def is_ours(target: Any, where: str) -> bool:
    """Whether a target is a class of the package, or one derived from it. Imports nothing but the package's modules.

    `semiseg.cli.sys.exit` is none: what is found must be at home where it derives from, not only be reached there.
    """
    module = target.rpartition(".")[0] if isinstance(target, str) else ""
    if module.partition(".")[0] != PACKAGE and module not in sys.modules:
        return False
    found = target_of({"_target_": target}, where)
    return isclass(found) and any(base.__module__.partition(".")[0] == PACKAGE for base in found.__mro__)


def named_in_recipes() -> set[str]:
    """The targets in the folders that the command line names with `--config-dir`; none outside a command."""
    if not HydraConfig.initialized():
        return set()
    sources = HydraConfig.get().runtime.config_sources
    folders = [Path(source.path) for source in sources if source.provider == "command-line"]
    files = [file for folder in folders for file in folder.rglob("*.yaml")]
    return {name for file in files for name in TARGET.findall(file.read_text(encoding="utf-8", errors="replace"))}


def leaves(tree: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested dictionaries and lists, each with its dotted key."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, f"{where}.{key}".lstrip("."))
    elif isinstance(tree, list):
        for number, value in enumerate(tree):
            yield from leaves(value, f"{where}[{number}]")
    else:
        yield where, tree


def with_stored(overrides: list[str]) -> list[str]:
    """On `resume=true`, the overrides the run was started with, then the ones typed now.

    The run is given by its name, or by its folder (hydra.run.dir) where it is a job of a sweep. Raises ConfigError
    when there is no such run, naming those that are there, and when its overrides cannot be read. A sweep (-m) looks
    for its jobs itself.
    """
    typed = {key_of(o): o.partition("=")[2].strip("'\"") for o in overrides}
    if not is_true(typed.get("resume", "false")) or set(MULTIRUN) & set(overrides):
        return overrides
    if "hydra.run.dir" in typed:
        run = Path(typed["hydra.run.dir"])
        if not _holds_run(run):
            raise ConfigError(f"resume=true: {run} holds no run. Leave out resume=true to start it.")
        return _started_with(run, typed) + overrides
    experiment = Path(typed.get("output", "runs"), typed.get("experiment_name", "semiseg"))
    run = experiment / typed.get("name", "")
    if "name" not in typed or not _holds_run(run):
        raise ConfigError(f"resume=true needs the name of a run in {experiment}: {_resumable(experiment)}")
    return _started_with(run, typed) + overrides


def is_true(value: str) -> bool:
    """Whether a setting that is true or false will be read as true: `yes`, `on` and `1` are too."""
    try:
        return bool(BooleanNode(value)._value())
    except OmegaConfBaseException:  # it is refused with the other settings
        return False


def _holds_run(run: Path) -> bool:
    return (run / OVERRIDES).is_file() or any(run.glob("checkpoints/*.pth"))


def _started_with(run: Path, typed: Collection[str]) -> list[str]:
    """The stored overrides of the keys that were not typed again."""
    return [each for each in stored_overrides(run) if key_of(each) not in typed]


def _resumable(experiment: Path) -> str:
    found = sorted(experiment.glob("*/checkpoints/latest_checkpoint.pth"), key=lambda p: p.stat().st_mtime)
    names = [override("name", path.parents[1].name) for path in reversed(found)]
    return (
        ", ".join(names[:5])
        if names
        else "none there has a checkpoint. Give experiment_name= or output= if it is elsewhere."
    )
