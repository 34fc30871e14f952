"""What a group is called: what tells it apart from the others, as a user would type it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semiseg.report.group import Group

SHOWN = 3  # single settings in a name


def recipes(groups: Sequence[Group]) -> list[str]:
    """What tells each recipe apart, as a user would type it: `v3 pseudo_label=softmax optim.lr=0.003`.

    That is the experiment or the model; then what differs from the other recipes of the same experiment or model
    (from all others nearly everything would), or was typed for this recipe and not for all: config groups first, then
    the first few single settings.
    """
    texts: dict[int, str] = {}
    everywhere = set.intersection(*(set(group.typed.items()) for group in groups)) if groups else set()
    for word in dict.fromkeys(map(base, groups)):
        kin = [group for group in groups if base(group) == word]
        varied = varied_settings(kin)
        for group in kin:
            typed = {key for key, value in group.typed.items() if (key, value) not in everywhere}
            typed = {key for key in typed if len(kin) == 1 or key in varied or key not in group.settings}
            own = {key for other in kin for key in own_settings(group, other, varied)} | (typed & group.settings.keys())
            single = [*sorted(own & typed), *sorted(own - typed)]
            texts[id(group)] = " ".join([word, *_choices(group, kin, typed), *_settings(group, single)])
    return [texts[id(group)] for group in groups]


def _choices(group: Group, kin: Sequence[Group], typed: Collection[str]) -> list[str]:
    """The config groups in which recipes of one model made different choices, or that were typed for this one.

    The choices that an experiment makes are its own.
    """
    names = [name for name in group.choices if name != "model"]
    unlike = [n for n in names if not group.experiment and len({other.choices.get(n) for other in kin}) > 1]
    return [f"{name}={group.choices[name]}" for name in names if name in typed or name in unlike]


def _settings(group: Group, keys: Sequence[str]) -> list[str]:
    """The first few single settings, and how many more there are."""
    more = [f"+{len(keys) - SHOWN} more"] if len(keys) > SHOWN else []
    return [*(f"{key}={group.settings[key]}" for key in keys[:SHOWN]), *more]


def base(group: Group) -> str:
    """The word that a recipe's name begins with."""
    return group.experiment or group.model


def varied_settings(groups: Sequence[Group]) -> list[str]:
    """Single settings that are not the same in all groups. (All pairs of 500 groups over all settings take minutes.)"""
    keys = dict.fromkeys(key for group in groups for key in group.settings)
    return [key for key in keys if len({group.settings.get(key) for group in groups}) > 1]


def own_settings(group: Group, other: Group, varied: Sequence[str]) -> list[str]:
    """Those of the `varied` settings in which a recipe differs from another one.

    Settings of a group in which the two made different choices are left out: the choice says it. Settings that only
    one of them has count where nothing else differs, since they mostly follow from one that both have.
    """
    mine, theirs = group.settings, other.settings
    alike = [k for k in varied if k in mine and group.choices.get(head(k)) == other.choices.get(head(k))]
    return [k for k in alike if k in theirs and mine[k] != theirs[k]] or [k for k in alike if k not in theirs]


def head(key: str) -> str:
    """The config group of a setting: `optim.lr` -> `optim`."""
    return key.partition(".")[0]
