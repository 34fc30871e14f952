"""Overrides as typed, and what is wrong with one."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from semiseg.config import conf_dir, near
from semiseg.errors import ConfigError
from semiseg.schema import check_folder_name, check_start_file, one_line
from semiseg.shell import as_typed

GROUP_OVERRIDE = re.compile(r"^\+?[a-z_/]+=[\w./]+$")
MULTIRUN = ("-m", "--multirun")
FOLDER_NAMES = ("name", "experiment_name")
PLAIN = re.compile(r"[\w./:-]+", re.ASCII)
NO_WORDS = ("", "null", "true", "false")
WORDS = re.compile(r"""[\w./,\s()*'"\[\]-]*""")  # one, or with -m several: a,b or glob(*)
CONFIG_DIR = re.compile(r"(?:--config-dir|-cd)(?:=(.*))?")
FLAGS = (
    "--multirun",
    "--config-dir",
    "--config-name",
    "--config-path",
    "--cfg",
    "--resolve",
    "--package",
    "--info",
    "--help",
    "--hydra-help",
    "--version",
    "--run",
    "--shell-completion",
    "--experimental-rerun",
)  # Hydra's own


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
        return unknown_word(match[1], match[2], text)
    if match := re.search(r"In '(\S+)': .*Cannot merge (?:DictConfig with List|ListConfig with Dict)Config", text):
        return f"conf/{match[1]}.yaml: a list cannot replace a mapping of settings, nor the other way round."
    if "Ambiguous value" in text:
        return f"{text.splitlines()[0]}. Add -m to run each value: semiseg {verb} -m ..."
    if isinstance(error, OverrideParseException):
        form = "KEY=VALUE, such as trainer.max_steps=500, and quote a value of special characters: \"KEY='a, b'\""
        return f"{error.override!r} is no override; write {form}."
    return " ".join(text.split("\nConfig search path")[0].split())


def check_groups(overrides: list[str]) -> None:
    """Raises ConfigError for a group set to what is no word, which Hydra would answer with a traceback."""
    dirs = config_dirs(overrides)
    for override in overrides:
        if override.startswith("~") and (conf_dir() / key_of(override)).is_dir():
            raise ConfigError(f"{override}: a run needs its {key_of(override)}; name another word instead.")
        group, equals, value = override.partition("=")
        if group and equals and (conf_dir() / group).is_dir() and not may_be_words(value):
            raise ConfigError(f"{override}: {group} takes one of the words {', '.join(words(group, dirs))}.")


def check_names(overrides: list[str]) -> None:
    """Raises ConfigError for a `name` or `experiment_name` that is not one folder, and for an `output` that is none,
    before Hydra makes that folder; and for a value that is left out, which would name the folder one is in."""
    for typed in overrides:
        key, equals, value = typed.partition("=")
        if key in FOLDER_NAMES:
            check_folder_name(key, value.strip("'\""))
        if key == "output" and not value.strip("'\" "):
            raise ConfigError("output is empty: give a folder, such as output=runs.")
        if equals and not value and not key.startswith(("~", "-")):
            raise ConfigError(f"{typed} is empty. Give a value, or leave it out.")


def check_flags(arguments: list[str]) -> None:
    """Raises ConfigError for an option that there is none of, such as one of the earlier scripts."""
    for flag in (each.partition("=")[0] for each in arguments if each.startswith("--")):
        if flag not in FLAGS:
            raise ConfigError(
                f"{flag} is no option: settings are written KEY=VALUE. docs/flags.md has the override of each flag of "
                "the earlier scripts, and `semiseg VERB --help` lists the settings."
            )


def flags_first(arguments: list[str]) -> list[str]:
    """As Hydra takes them: options between overrides would end its reading."""
    several = [each for each in arguments if each in MULTIRUN]
    own = [f"--config-dir={folder}" for folder in config_dirs(arguments)[1:]]
    return [*several, *own, *(each for each in without_config_dirs(arguments) if each not in MULTIRUN)]


def may_be_words(value: str) -> bool:
    """Whether a value has the form of a group's word, or of several; Hydra reads others as null, a number ...."""
    with suppress(ValueError):
        float(value)
        return False
    return (
        value.lower() not in NO_WORDS
        and re.search(r"[a-z]", value, re.IGNORECASE) is not None
        and WORDS.fullmatch(value) is not None
    )


def config_dirs(arguments: list[str]) -> list[Path]:
    """The folders of recipes: the project's, and the user's own (`--config-dir PATH`)."""
    dirs = [conf_dir()]
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):  # none for no arguments
        if match := CONFIG_DIR.fullmatch(argument):
            dirs.append(Path(match[1] or following).expanduser())
    return dirs


def without_config_dirs(arguments: list[str]) -> list[str]:
    """The arguments without `--config-dir=PATH` or `--config-dir PATH`."""
    flags = [CONFIG_DIR.fullmatch(argument) for argument in arguments]
    values = [False, *(flag is not None and flag[1] is None for flag in flags)]
    return [each for each, flag, value in zip(arguments, flags, values, strict=False) if not flag and not value]


def check_files(arguments: list[str]) -> None:
    """Raises ConfigError for a folder of recipes that is not there, for a file in it that is no recipe, and for a
    `restore_from` that is no file; whether one that is not there was meant is said with those that are."""
    for typed in (each for each in arguments if key_of(each) == "restore_from" and "=" in each):
        check_start_file(*typed.split("=", 1))
    for folder in config_dirs(arguments)[1:]:
        if not folder.is_dir():
            raise ConfigError(f"--config-dir {folder}: there is no such folder.")
        for file in sorted(folder.rglob("*.yaml")):
            check_file(file)


def check_file(file: Path) -> None:
    """Raises ConfigError unless the file is a YAML mapping of settings whose `defaults`, if any, are a list."""
    try:
        recipe = OmegaConf.load(file)
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError, OmegaConfBaseException) as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        raise ConfigError(f"{file}{line}: {getattr(error, 'problem', None) or one_line(error)}.") from error
    if not isinstance(recipe, DictConfig):
        raise ConfigError(f"{file} is a list; a recipe holds settings, KEY: VALUE.")
    if "defaults" in recipe and not OmegaConf.is_list(recipe._get_node("defaults")):
        raise ConfigError(f"{file}: defaults must be a list, such as '- override /loss: ce'.")


def words(group: str, dirs: Collection[Path] = ()) -> list[str]:
    """The choices of a group: its files' names, in the project's folder of recipes or in these."""
    return sorted({path.stem for folder in dirs or (conf_dir(),) for path in (folder / group).glob("*.yaml")})


def unknown_word(group: str, word: str, text: str) -> str:
    """Names the words that a group takes; Hydra's own groups have more than conf/ shows, which its message lists."""
    if word.startswith("submitit_"):
        return f'{group}={word} needs hydra-submitit-launcher: pip install -e ".[slurm]"'
    listed = re.findall(r"^\t([\w/]+)$", text, re.MULTILINE)
    return f"{group}={word}: there is no conf/{group}/{word}.yaml. {near(word, listed or words(group))}"


def unknown_key(key: str, verb: str, overrides: list[str]) -> str:
    """Names the keys that are valid where `key` went wrong."""
    if verb == "train" and (conf_dir() / key).is_dir():
        known = words(key, config_dirs(overrides))
        return f"{key} is no part of a run by itself: it is added with a plus, +{key}=WORD. {near('', known)}"
    try:
        node, seen = composed_defaults(verb, overrides), ""
    except HydraException:  # the groups themselves do not fit each other: that is said without suggestions
        return f"{key} is no key of this configuration. `semiseg {verb} --cfg job` shows those there are."
    for part in key.split("."):
        if not isinstance(node, DictConfig) or part not in node:
            break
        node, seen = node._get_node(part), f"{seen}{part}."
    valid = settable(node, seen) if isinstance(node, DictConfig) else []
    if verb == "train" and not seen:  # these, too, are no part of the config, but words to add
        valid += [path.name for path in conf_dir().iterdir() if path.is_dir() and path.name not in (*valid, "hydra")]
    wrong = key[len(seen) :].split(".")[0]
    where = f"{seen.rstrip('.')} has no key {wrong!r}" if seen else f"there is no group or key {wrong!r}"
    return f"{key}: {where}. {near(wrong, valid)}"


def settable(node: DictConfig, where: str) -> list[str]:
    """The keys of a node that are there to be set: none of Hydra's, nor what a model tells its partners."""
    hidden = {"name", "recipe"} if where == "model." else {"hydra"}
    return [str(key) for key in node if str(key) not in hidden and not str(key).startswith("_")]


def composed_defaults(verb: str, overrides: list[str]) -> DictConfig:
    """The config of the group choices alone, to know which keys it has."""
    dirs = config_dirs(overrides)
    choices = [
        o for o in overrides if GROUP_OVERRIDE.match(o) and is_choice(o.partition("=")[0], o.partition("=")[2], dirs)
    ]
    if own := [json.dumps(f"file://{path.absolute().as_posix()}") for path in dirs[1:]]:
        choices.append(f"hydra.searchpath=[{','.join(own)}]")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(verb, overrides=choices, return_hydra_config=True)


def is_choice(group: str, word: str, dirs: Collection[Path] = ()) -> bool:
    """Whether an override picks a word of a group; those of Hydra's own groups are not all in conf/."""
    return group.startswith("hydra/") or word in words(group.lstrip("+"), dirs)


def key_of(override: str) -> str:
    """`+trainer.max_steps=5` -> `trainer.max_steps`."""
    return override.lstrip("+~").split("=")[0]


def hydra_form(key: str, value: str) -> str:
    """`key=value` as Hydra reads it, in quotes where the value takes them: 2024_01_15 would be the number 20240115."""
    if PLAIN.fullmatch(value):
        read = OverridesParser.create().parse_override(f"{key}={value}").value()
        if isinstance(read, str) or str(read) == value:
            return f"{key}={value}"
    quote = '"' if "'" in value else "'"
    escaped = value.replace(quote, f"\\{quote}")
    return f"{key}={quote}{escaped}{quote}"


def names_as_typed(overrides: list[str]) -> list[str]:
    """The overrides, with the names of folders in quotes that Hydra would read as another text."""
    parts = [(each, *each.partition("=")[::2]) for each in overrides]
    return [
        hydra_form(key, value) if key in FOLDER_NAMES and PLAIN.fullmatch(value) and value != "null" else each
        for each, key, value in parts
    ]


def override(key: str, value: str) -> str:
    """`key=value` as it is typed into a shell, in Hydra's quotes and the shell's where it takes them."""
    return as_typed(hydra_form(key, value))


def check_sweeps(arguments: list[str]) -> None:
    """Raises ConfigError for a sweep that would not be run, or not as it was meant."""
    several = any(argument in MULTIRUN for argument in arguments)
    if several and any(argument in ("--cfg", "-c") for argument in arguments):
        raise ConfigError(
            "--cfg shows the configuration of one run: leave out -m and +sweep=, and give the values of one job."
        )
    for typed in arguments:
        key, _, value = typed.partition("=")
        if key_of(typed) != "sweep" or not key.startswith("+"):
            continue
        if not several:
            raise ConfigError(f"{typed} starts several runs: add -m.")
        if "," in value and not value.startswith("["):
            raise ConfigError(f"{typed}: give one sweep, or every combination of several with +sweep=[{value}].")
