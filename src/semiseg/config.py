"""From the composed Hydra config to checked settings: wrong keys and values stop here, before any data is read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from semiseg.errors import ConfigError, SemisegError
from semiseg.schema import (
    check_mapping,
    check_value,
    described,
    fits,
    one_line,
    shown,
    signature_of,
    takes_list,
    target_of,
)

T = TypeVar("T")
# What constructors of networks and others raise for a value that they cannot use; torch has nothing but RuntimeError.
REFUSALS = (TypeError, ValueError, ImportError, OmegaConfBaseException, RuntimeError, IndexError, ArithmeticError)
PLACES = ("class_mapping", "out", "root", "run", "teacher_run")  # settings that name a file or a folder
CONVERSIONS = ("none", "partial", "object", "all")  # what Hydra hands lists and mappings over as


def conf_dir() -> Path:
    """The recipes: `conf/` of a source checkout, or the copy packaged with an installed wheel."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "conf"


def near(name: str, valid: Iterable[str]) -> str:
    """A sentence that names the closest valid names first, then all of them."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}Valid: {', '.join(names)}."


def resolved(node: Any, where: str) -> dict[str, Any]:
    """A config node as plain values. Raises ConfigError for what is no node, such as null, and for an interpolation
    that leads nowhere."""
    if not OmegaConf.is_config(node):
        raise ConfigError(f"{where} is {shown(node)}; it must be a mapping of settings, KEY: VALUE.")
    try:
        return OmegaConf.to_container(node, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        key = str(error.full_key or "")
        raise ConfigError(f"{key if key.startswith(where) else f'{where}.{key}'}: {one_line(error)}") from error


def settings(cls: type[T], node: Any, where: str) -> T:
    """A dataclass of closed settings from its config node, which stands at `where` ("" = outside every group).

    Raises ConfigError for a key the dataclass does not have, a value of the wrong type, or whatever its
    `__post_init__` refuses.
    """
    values = resolved(node, where) if OmegaConf.is_config(node) else node
    check_mapping(values, where)
    check_value(values, where)
    prefix = f"{where}." if where else ""
    known = get_type_hints(cls)
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{prefix}{key} is no setting. {near(str(key), known)}")
        if (isinstance(value, list | dict) or takes_list(known[key])) and not fits(value, known[key]):
            raise ConfigError(f"{prefix}{key} is {shown(value)}; it must be {described(known[key])}.")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(cls), values)
        check_value(OmegaConf.to_container(merged), where)  # once more: the text "nan" is a number by now
        return OmegaConf.to_object(merged)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        key = str(error.full_key or error.key or "").removeprefix(prefix)
        if key not in values:
            raise ConfigError(f"{prefix}{key}: {one_line(error)}") from error
        raise ConfigError(f"{prefix}{key} is {shown(values[key])}; it must be {described(known[key])}.") from error
    except ConfigError as error:  # a dataclass knows its group, and not where a second one of it stands
        group = f"{where.rpartition('.')[2]}."
        if not str(error).startswith(group):
            raise
        raise ConfigError(prefix + str(error).removeprefix(group)) from None


def run_settings(kind: type[T], config: DictConfig, typed: Collection[str], what: str) -> T:
    """The checked settings of a verb that works on a finished run; `typed` are the keys given, `what` names its work.

    Raises ConfigError for those that only a training has, since the run brings its own.
    """
    names = list(kind.__dataclass_fields__)  # pyright: ignore[reportAttributeAccessIssue]
    foreign = sorted(key for key in typed if key.split(".")[0] not in (*names, "data", "output", "hydra"))
    if foreign:
        raise ConfigError(f"{foreign[0]} is no setting of {what}: the run has its own. {near('', names)}")
    node = OmegaConf.masked_copy(config, names)
    check_missing(node)
    return settings(kind, node, "")


def ungrouped(config: DictConfig) -> dict[str, Any]:
    """The settings outside every group, such as `seed`, and whatever stands there that is no group."""
    nodes = resolved(config, "").items()
    return {key: value for key, value in nodes if not isinstance(value, dict) or not (conf_dir() / key).is_dir()}


def recipe_dirs() -> list[str]:
    """The options by which the command of this run found recipes of other folders; none outside one."""
    if not HydraConfig.initialized():
        return []
    sources = HydraConfig.get().runtime.config_sources
    return [f"--config-dir={Path(source.path).as_posix()}" for source in sources if source.provider == "command-line"]


def stored_at(tree: Any, key: str) -> Any:
    """The value at a dotted key of plain dictionaries and lists; None where it leads nowhere."""
    for part in re.findall(r"[^.\[\]]+", key):
        if not (isinstance(tree, dict) and part in tree) and not (isinstance(tree, list) and part.isdecimal()):
            return None
        tree = tree[part] if isinstance(tree, dict) else tree[int(part)]
    return tree


def check_missing(config: DictConfig) -> None:
    """Raises ConfigError naming every `???` that was not given, and for values that no setting can have."""
    tree: dict[str, Any] = OmegaConf.to_container(config, resolve=False)  # type: ignore[assignment]
    check_value(tree, "")
    for group in (key for key in tree if (conf_dir() / key).is_dir()):
        check_mapping(tree[group], group)
    try:
        missing = sorted(OmegaConf.missing_keys(config))
    except OmegaConfBaseException as error:
        said = shown(stored_at(tree, str(error.full_key)))
        raise ConfigError(f"{error.full_key} is {said}: {one_line(error)}. Give a value, or a key that is.") from error
    if missing:
        wanted = " ".join(f"{key}={'PATH' if key.rpartition('.')[2] in PLACES else 'VALUE'}" for key in missing)
        raise ConfigError(f"No value for {', '.join(missing)}. Add to the command: {wanted}")


def check_arguments(node: Any, where: str, given: Collection[str] = ()) -> None:
    """Hold a `_target_` node and those inside it against their constructors, without calling them.

    `given` are the arguments that the code passes itself. Raises ConfigError for a key that the constructor does not
    take, and for a value that a simple annotation (numbers, text, true or false, null) rules out.
    """
    values = resolved(node, where) if OmegaConf.is_config(node) else node
    check_mapping(values, where)
    check_value(values, where)
    parameters = signature_of(target_of(values, where))
    if values.get("_convert_", "none") not in CONVERSIONS:
        raise ConfigError(f"{where}._convert_ is {shown(values['_convert_'])}; it must be one of {CONVERSIONS}.")
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for key, value in values.items():
        name = f"{where}.{key}"
        if isinstance(value, dict) and "_target_" in value:
            check_arguments(value, name)
        elif str(key).startswith("_") or not parameters:
            continue
        elif key not in parameters:
            raise ConfigError(f"{name} is no setting. {near(str(key), parameters.keys() - set(given))}")
        elif not fits(value, annotation := parameters[key].annotation):
            raise ConfigError(f"{name} is {shown(value)}; it must be {described(annotation)}.")


def build(node: Any, where: str, kind: type = object, **extra: Any) -> Any:
    """Instantiate a `_target_` node as a `kind`; the constructor is the schema.

    Raises ConfigError for arguments that `check_arguments` refuses or the constructor complains about and for a target
    of another kind, and lets the project's errors through as they are.
    """
    check_arguments(node, where, extra)
    found = instantiated(node, where, extra)
    if not isinstance(found, kind):
        raise ConfigError(f"{where}._target_ names a {type(found).__name__}; it must be a {kind.__name__}.")
    return found


def instantiated(node: Any, where: str, extra: dict[str, Any]) -> Any:
    """Hydra's `instantiate`, with what the constructor complains about as a ConfigError."""
    try:
        return instantiate(node, **extra)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, SemisegError):
            raise cause from None
        if isinstance(cause, REFUSALS) or cause is None:
            detail = one_line(cause or error)
            raise ConfigError(
                f"{where}: {detail}. See conf/{where.split('.')[0]}/ for the settings it takes."
            ) from error
        raise cause from None


def plain(config: DictConfig) -> dict[str, Any]:
    """The resolved config as plain dictionaries and lists."""
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat
