"""From the composed Hydra config to checked settings: wrong keys and values stop here, before any data is read."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from pydoc import ErrorDuringImport, locate
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from semiseg.errors import ConfigError, SemisegError

T = TypeVar("T")
SIMPLE = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "null"}


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
    """A config node as plain values. Raises ConfigError for an interpolation that leads nowhere."""
    try:
        return OmegaConf.to_container(node, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise ConfigError(f"{where}: {str(error).splitlines()[0]}") from error


def settings(cls: type[T], node: Any, where: str) -> T:
    """A dataclass of closed settings from its config node, which stands at `where` ("" = outside every group).

    Raises ConfigError for a key the dataclass does not have, a value of the wrong type, or whatever its
    `__post_init__` refuses.
    """
    values = resolved(node, where) if OmegaConf.is_config(node) else node
    prefix = f"{where}." if where else ""
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(f"{prefix}{key} is no setting. {near(str(key), known)}")
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls), values))  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        key = error.full_key or error.key or ""
        raise ConfigError(f"{prefix}{key.removeprefix(prefix)}: {str(error).splitlines()[0]}") from error


def ungrouped(config: DictConfig) -> dict[str, Any]:
    """The settings outside every group, such as `seed`."""
    return {key: value for key, value in resolved(config, "config").items() if not isinstance(value, dict)}


def check_missing(config: DictConfig) -> None:
    """Raises ConfigError naming every `???` that was not given."""
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise ConfigError(f"No value for {', '.join(missing)}. Give it on the command line: {missing[0]}=VALUE")


def check_arguments(node: Any, where: str, given: Collection[str] = ()) -> None:
    """Hold a `_target_` node and those inside it against their constructors, without calling them.

    `given` are the arguments that the code passes itself. Raises ConfigError for a key that the constructor does not
    take, and for a value that a simple annotation (numbers, text, true or false, null) rules out.
    """
    values = resolved(node, where) if OmegaConf.is_config(node) else node
    parameters = signature_of(values.get("_target_", ""))
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
            valid = " or ".join(SIMPLE[each] for each in alternatives(annotation))
            raise ConfigError(f"{name} is {value!r}; it must be {valid}.")


def signature_of(target: str) -> Mapping[str, inspect.Parameter]:
    """Parameters of what a `_target_` names; none where it names nothing, which instantiating it will say."""
    try:
        found = locate(target)
        return inspect.signature(found, eval_str=True).parameters if callable(found) else {}
    except (
        ErrorDuringImport,
        NameError,
        ValueError,
    ):  # an import or annotation that fails, or code without a signature
        return {}


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The types that an annotation joins with `|`."""
    return get_args(annotation) if get_origin(annotation) in (UnionType, Union) else (annotation,)


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value may stand for an annotation; annotations that are not simple take anything."""
    allowed = alternatives(annotation)
    if any(each not in SIMPLE for each in allowed):
        return True
    return type(value) in allowed or (type(value) is int and float in allowed)


def build(node: Any, where: str, **extra: Any) -> Any:
    """Instantiate a `_target_` node; the constructor is the schema.

    Raises ConfigError for arguments that `check_arguments` refuses or the constructor complains about, and lets the
    project's errors through as they are.
    """
    check_arguments(node, where, extra)
    try:
        return instantiate(node, **extra)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, SemisegError):
            raise cause from None
        if isinstance(cause, TypeError | ValueError | ImportError | OmegaConfBaseException) or cause is None:
            detail = str(cause or error).splitlines()[0]
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
