"""Overrides as typed: what is wrong with one, and those a stored run was started with."""

from __future__ import annotations

import re
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from semiseg.config import conf_dir, near
from semiseg.errors import ConfigError

GROUP_OVERRIDE = re.compile(r"^[a-z_]+=[\w./]+$")
NO_WORD = re.compile(r"^([a-z_]+)=(null|true|false|[\d.]*)$")


def explain(error: Exception, verb: str, overrides: list[str]) -> str:
    """A composition error in one message with the nearest valid names."""
    text = str(error)
    if match := re.search(r"Could not override '([\w@./]+)'", text):
        return unknown_key(match[1], verb, overrides)
    if match := re.search(r"Could not find '([\w/]+)/([^/']+)'", text):
        group, word = match[1], match[2]
        return f"{group}={word}: there is no conf/{group}/{word}.yaml. {near(word, words(group))}"
    if "Ambiguous value" in text:
        return f"{text.splitlines()[0]}. Add -m to run each value: semiseg {verb} -m ..."
    if isinstance(error, OverrideParseException):
        form = "KEY=VALUE, such as trainer.max_steps=500, and quote a value of special characters: 'KEY=\"a, b\"'"
        return f"{error.override!r} is no override; write {form}."
    return text.split("\nConfig search path")[0]


def check_groups(overrides: list[str]) -> None:
    """Raises ConfigError for a group set to null or a number, which Hydra would answer with a traceback."""
    for override in overrides:
        match = NO_WORD.match(override)
        if match and (conf_dir() / match[1]).is_dir():
            raise ConfigError(f"{override}: {match[1]} takes one of the words {', '.join(words(match[1]))}.")


def words(group: str) -> list[str]:
    """The choices of a group: its files' names."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def unknown_key(key: str, verb: str, overrides: list[str]) -> str:
    """Names the keys that are valid where `key` went wrong."""
    try:
        node, seen = composed_defaults(verb, overrides), ""
    except HydraException:  # the groups themselves do not fit each other: that is said without suggestions
        return f"{key} is no key of this configuration. `semiseg {verb} --cfg job` shows those there are."
    for part in key.split("."):
        if not isinstance(node, DictConfig) or part not in node:
            break
        node, seen = node._get_node(part), f"{seen}{part}."
    valid = [str(k) for k in node if k != "hydra"] if isinstance(node, DictConfig) else []
    wrong = key[len(seen) :].split(".")[0]
    where = f"{seen.rstrip('.')} has no key {wrong!r}" if seen else f"there is no group or key {wrong!r}"
    return f"{key}: {where}. {near(wrong, valid)}"


def composed_defaults(verb: str, overrides: list[str]) -> DictConfig:
    """The config of the group choices alone, to know which keys it has."""
    choices = [o for o in overrides if GROUP_OVERRIDE.match(o) and o.split("=")[1] in words(o.split("=")[0])]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(verb, overrides=choices)


def key_of(override: str) -> str:
    """`+trainer.max_steps=5` -> `trainer.max_steps`."""
    return override.lstrip("+~").split("=")[0]


def with_stored(overrides: list[str]) -> list[str]:
    """On `resume=true name=X`, the overrides X was started with, then the ones typed now.

    Raises ConfigError when there is no such run, naming those that are there.
    """
    typed = {key_of(o): o.partition("=")[2] for o in overrides}
    if typed.get("resume", "").lower() != "true":
        return overrides
    experiment = Path(typed.get("output", "runs"), typed.get("experiment_name", "semiseg"))
    stored = experiment / typed.get("name", "") / ".hydra" / "overrides.yaml"
    if "name" not in typed or not stored.is_file():
        raise ConfigError(f"resume=true needs the name of a run in {experiment}: {_resumable(experiment)}")
    again = [str(o) for o in OmegaConf.load(stored) if key_of(str(o)) not in typed]
    return [*again, *overrides]


def _resumable(experiment: Path) -> str:
    found = sorted(experiment.glob("*/checkpoints/latest_checkpoint.pth"), key=lambda p: p.stat().st_mtime)
    names = [f"name={path.parents[1].name}" for path in reversed(found)]
    return (
        ", ".join(names[:5])
        if names
        else "none there has a checkpoint. Give experiment_name= or output= if it is elsewhere."
    )
