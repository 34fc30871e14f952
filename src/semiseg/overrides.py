"""Overrides as typed: what is wrong with one, and those a stored run was started with."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from semiseg.config import conf_dir, near
from semiseg.errors import ConfigError

GROUP_OVERRIDE = re.compile(r"^[a-z_]+=[\w./]+$")
FOLDER_NAMES = ("name", "experiment_name")
NO_WORD = re.compile(r"^([a-z_]+)=(null|true|false|[\d.]*)$")


MAPPING_REMEDY = (
    "Give class thresholds with pseudo_label.class_thresholds=, as a list by class id or a mapping by name."
)


def explain(error: Exception, verb: str, overrides: list[str]) -> str:
    """A composition error in one message with the nearest valid names."""
    text = str(error)
    if match := re.search(r"Error merging override (\S+?=.*)", text):
        return f"{match[1]}: a list cannot replace a mapping, nor the other way round. {MAPPING_REMEDY}"
    if re.search(r"Could not override '\S*class_thresholds'", text):
        return f"data.class_thresholds already names the classes of the data set. {MAPPING_REMEDY}"
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


def check_names(overrides: list[str]) -> None:
    """Raises ConfigError for a `name` or `experiment_name` that is not one folder, before Hydra makes that folder."""
    for typed in overrides:
        key, _, value = typed.partition("=")
        value = value.strip("'\"")
        if key in FOLDER_NAMES and (value in ("", ".", "..", "null") or re.search(r"[/\\]", value)):
            raise ConfigError(
                f"{key}={value}: give one folder name without slashes, such as {key}=first; output=PATH says where "
                "the runs go."
            )


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
    valid = settable(node, seen) if isinstance(node, DictConfig) else []
    wrong = key[len(seen) :].split(".")[0]
    where = f"{seen.rstrip('.')} has no key {wrong!r}" if seen else f"there is no group or key {wrong!r}"
    return f"{key}: {where}. {near(wrong, valid)}"


def settable(node: DictConfig, where: str) -> list[str]:
    """The keys of a node that are there to be set: none of Hydra's, nor what a model tells its partners."""
    hidden = {"name", "recipe"} if where == "model." else {"hydra"}
    return [str(key) for key in node if str(key) not in hidden and not str(key).startswith("_")]


def composed_defaults(verb: str, overrides: list[str]) -> DictConfig:
    """The config of the group choices alone, to know which keys it has."""
    choices = [o for o in overrides if GROUP_OVERRIDE.match(o) and o.split("=")[1] in words(o.split("=")[0])]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(verb, overrides=choices)


def key_of(override: str) -> str:
    """`+trainer.max_steps=5` -> `trainer.max_steps`."""
    return override.lstrip("+~").split("=")[0]


def override(key: str, value: str) -> str:
    """`key=value` as it is typed into a shell, in Hydra's quotes and the shell's where it takes them."""
    return f"{key}={value}" if re.fullmatch(r"[\w./:-]+", value) else shlex.quote(f'{key}="{value}"')


def varied(arguments: list[str], overrides: list[str]) -> list[str]:
    """Of a sweep job's overrides, those to which the command line gives several values; all where it gives none."""
    typed = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    parsed = OverridesParser.create().parse_overrides(typed)
    keys = {each.key_or_group for each in parsed if each.is_sweep_override()}
    return [each for each in overrides if key_of(each) in keys] or overrides


def with_stored(overrides: list[str]) -> list[str]:
    """On `resume=true name=X`, the overrides X was started with, then the ones typed now.

    Raises ConfigError when there is no such run, naming those that are there.
    """
    typed = {key_of(o): o.partition("=")[2].strip("'\"") for o in overrides}
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
