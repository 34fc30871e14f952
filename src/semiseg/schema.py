"""What a value from a config may be: held against types and constructors, without calling anything."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from pydoc import ErrorDuringImport, locate
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from semiseg.errors import ConfigError

LARGEST = 2**63 - 1  # of a whole number: what PyTorch and NumPy count with
LONGEST = 1000  # characters of a text
CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
SIMPLE = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "null"}


def check_mapping(values: Any, where: str) -> None:
    """Raises ConfigError for a value where a mapping of settings should be."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} is {shown(values)}; it must be a mapping of settings, KEY: VALUE.")


def check_value(value: Any, name: str) -> None:
    """Raises ConfigError for what no setting can be, also within a list or mapping: a number that is not finite or
    cannot be counted, a text of several lines or of more than `LONGEST` characters."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name} is {value}; it must be a finite number.")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise ConfigError(f"{name} is {shown(value)}; it must be {LARGEST} or less.")
    if isinstance(value, str) and (len(value) > LONGEST or CONTROL.search(value)):
        raise ConfigError(f"{name} is {shown(value)}; it must be one line of at most {LONGEST} characters.")
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        check_value(key, name)
        check_value(each, f"{name}[{key}]" if isinstance(value, list) else f"{name}.{key}".lstrip("."))


def check_folder_name(key: str, value: str) -> None:
    """Raises ConfigError for a name that is not one folder."""
    if value.strip() in ("", ".", "..", "null") or re.search(r"[/\\]", value):
        raise ConfigError(
            f"{key}={value}: give one folder name without slashes, such as {key}=first; output=PATH says where the "
            "runs go."
        )


def check_start_file(key: str, typed: str) -> None:
    """Raises ConfigError for an empty path, and for a folder or device; what is not there is not judged."""
    value = typed.strip("'\"")
    if not value:
        raise ConfigError(f"{key}= is empty: give a checkpoint or weights file, or null to start anew.")
    with suppress(OSError, RuntimeError):  # a name that is too long, a home that is not known
        path = Path(value).expanduser()
        if path.exists() and not path.is_file():
            kind = "is a folder" if path.is_dir() else "is no regular file"
            raise ConfigError(f"{key}={value} {kind}: give a file, such as RUN/checkpoints/best_model.pth.")


def shown(value: Any, length: int = 80) -> str:
    """A value as messages quote it: on one line and cut where it is long."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= length else f"{text[:length]}..."


def one_line(error: Exception) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def target_of(values: Mapping[str, Any], where: str) -> Callable[..., Any]:
    """What the `_target_` of a node names. Raises ConfigError where that is nothing that can be called."""
    target = values.get("_target_")
    try:
        found = locate(target) if isinstance(target, str) else None
    except (ErrorDuringImport, ValueError):
        found = None
    if not callable(found):
        raise ConfigError(
            f"{where}._target_ is {shown(target)}; it must be the dotted name of a class that can be imported, as in "
            f"conf/{where.split('.')[0]}/."
        )
    return found


def signature_of(found: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Parameters of a class or function; none of code without a signature or with annotations of what is not there."""
    try:
        return inspect.signature(found, eval_str=True).parameters
    except (NameError, ValueError, TypeError):
        return {}


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The types that an annotation joins with `|`."""
    return get_args(annotation) if get_origin(annotation) in (UnionType, Union) else (annotation,)


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value from a config may stand for an annotation: a simple type, a list or mapping of them, or a class,
    for which a node with `_target_` stands. What none of these is (`Any`) takes anything."""
    return any(fits_one(value, each) for each in alternatives(annotation))


def fits_one(value: Any, annotation: Any) -> bool:
    """The same for one type that is no union."""
    origin, inner = get_origin(annotation) or annotation, get_args(annotation)
    if annotation in (Any, inspect.Parameter.empty):
        return True
    if annotation in SIMPLE:
        return type(value) is annotation or (type(value) is int and annotation is float)
    if origin in (Sequence, list, tuple):
        return (
            isinstance(value, Sequence)
            and not isinstance(value, str)
            and all(fits(each, inner[0]) for each in value if inner)
        )
    if origin in (Mapping, dict):
        return isinstance(value, Mapping) and all(fits(each, inner[1]) for each in value.values() if inner)
    if inspect.isclass(annotation):
        return isinstance(value, annotation) or (isinstance(value, Mapping) and "_target_" in value)
    return True


def takes_list(annotation: Any) -> bool:
    """Whether nothing but a list, or null, may stand for an annotation."""
    return all(get_origin(each) is list for each in alternatives(annotation) if each is not NoneType)


def described(annotation: Any) -> str:
    """What `fits` takes, in words."""
    return " or ".join(dict.fromkeys(kinds(annotation)))


def kinds(annotation: Any) -> Iterator[str]:
    """Words for each of the alternatives."""
    for each in alternatives(annotation):
        origin, inner = get_origin(each) or each, get_args(each)
        if each in SIMPLE:
            yield SIMPLE[each]
        elif origin in (Sequence, list, tuple):
            yield f"a list, each {described(inner[0])}" if inner else "a list"
        elif origin in (Mapping, dict):
            yield "a mapping"
        else:
            yield "a mapping with _target_"
