"""The jobs of a grid: every combination of the values that were given."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from semiseg.errors import ConfigError
from semiseg.overrides import key_of

NOT_OF_A_JOB = ("sweep", "resume")  # they speak of the sweep


@dataclass(frozen=True)
class Combination:
    """The overrides of one job, and those of them in which the jobs differ."""

    overrides: tuple[str, ...]
    varied: tuple[str, ...]


def settings_of(params: Mapping[str, object], arguments: Sequence[str]) -> list[Override]:
    """What a sweep's recipe sets and what was typed, parsed; the typed value of a key replaces the recipe's.

    Raises ConfigError for a value of the recipe that is no override.
    """
    typed = {key_of(argument) for argument in arguments}
    lines = [f"{key}={as_text(value)}" for key, value in params.items() if key_of(key) not in typed]
    kept = [argument for argument in arguments if key_of(argument) not in NOT_OF_A_JOB]
    return OverridesParser.create().parse_overrides([*lines, *kept])


def as_text(value: object) -> str:
    """A YAML value as it is typed."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def combinations(
    params: Mapping[str, object], alternatives: Sequence[Sequence[str]], arguments: Sequence[str]
) -> list[Combination]:
    """Every combination of the alternatives, the recipe's values and the typed ones, once; the last changes fastest.

    An alternative is a list of overrides that belong together. Raises ConfigError for values that are no list.
    """
    axes = [[tuple(each) for each in alternatives]] if alternatives else []
    axes += [values_of(override) for override in settings_of(params, arguments)]
    varying = [len(axis) > 1 for axis in axes]
    found = (
        Combination(
            overrides=tuple(itertools.chain.from_iterable(chosen)),
            varied=tuple(itertools.chain.from_iterable(itertools.compress(chosen, varying))),
        )
        for chosen in itertools.product(*axes)
    )
    return list(dict.fromkeys(found))


def values_of(override: Override) -> list[tuple[str, ...]]:
    """The overrides, one of them a job, that an override with several values stands for."""
    if not override.is_sweep_override():
        return [(str(override.input_line),)]
    if not override.is_discrete_sweep():
        raise ConfigError(
            f"{override.input_line}: list the values, such as {override.key_or_group}=A,B; an interval needs "
            "hydra/sweeper=optuna."
        )
    key = override.get_key_element()
    return [(f"{key}={value}",) for value in override.sweep_string_iterator()]
