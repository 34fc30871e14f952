"""Class-wise confidence thresholds as users write them: a list by id, or a mapping by id or class name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from semiseg.errors import ConfigError

NEVER = math.inf  # no confidence exceeds it
SETTING = "pseudo_label.class_thresholds"


def resolve_thresholds(spec: Any, default: float, class_names: Sequence[str]) -> list[float]:
    """One threshold a class in id order, from the setting `class_thresholds`.

    None gives `default` to every class. A null entry means that the class is never a pseudo label; 0.0 is taken
    literally and accepts every pixel predicted as that class. Raises ConfigError unless every class is covered once
    with a value in [0, 1).
    """
    if spec is None:
        return [default] * len(class_names)
    if isinstance(spec, Mapping):
        entries = _by_id(spec, class_names)
    elif isinstance(spec, Sequence) and not isinstance(spec, str):
        entries = _by_position(spec, class_names)
    else:
        raise ConfigError(f"{SETTING}={spec}: give a list, a mapping, or null for pseudo_label.threshold alone.")
    return [_threshold(entry, name) for entry, name in zip(entries, class_names, strict=True)]


def _by_position(entries: Sequence[Any], class_names: Sequence[str]) -> list[Any]:
    if len(entries) != len(class_names):
        raise ConfigError(
            f"{SETTING} has {len(entries)} values and the data {len(class_names)} classes "
            f"({', '.join(class_names)}): give {len(class_names)} values in that order, or {SETTING}=null for one "
            "threshold."
        )
    return list(entries)


def _by_id(entries: Mapping[Any, Any], class_names: Sequence[str]) -> list[Any]:
    by_id: dict[int, Any] = {}
    for key, entry in entries.items():
        class_id = _class_id(key, class_names)
        if class_id in by_id:
            raise ConfigError(f"{SETTING} names class {class_id} ({class_names[class_id]}) twice: keep one entry.")
        by_id[class_id] = entry
    missing = [name for class_id, name in enumerate(class_names) if class_id not in by_id]
    if missing:
        raise ConfigError(
            f"{SETTING} leaves out {', '.join(missing)}: give every class a value (null = never a pseudo label), or "
            f"{SETTING}=null for one threshold."
        )
    return [by_id[class_id] for class_id in range(len(class_names))]


def _class_id(key: Any, class_names: Sequence[str]) -> int:
    """Id of a class given by name or id; a name wins, so a class may be called "3"."""
    text = str(key)
    if text in class_names:
        return list(class_names).index(text)
    if text.isdecimal() and int(text) < len(class_names):
        return int(text)
    near = get_close_matches(text, class_names, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ConfigError(
        f"{SETTING} names {text}, which is no class of the data.{hint} Valid: {', '.join(class_names)}, or the ids 0 "
        f"to {len(class_names) - 1}; {SETTING}=null for one threshold."
    )


def _threshold(entry: Any, name: str) -> float:
    if entry is None:
        return NEVER
    if isinstance(entry, bool) or not isinstance(entry, int | float) or not 0 <= entry < 1:
        raise ConfigError(
            f"{SETTING} of {name} is {entry}: give a value from 0 to below 1, or null for never a pseudo label."
        )
    return float(entry)
