"""What a group is called: what tells it apart from the others, as a user would type it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semiseg.report.group import Group

SHOWN = 3  # typed settings in a name
# How long a run is, and what follows from it: in a name where nothing else tells two recipes apart.
LENGTHS = (
    "trainer.max_steps", "trainer.max_epochs", "trainer.eval_every", "optim.warmup_steps", "pseudo_label.start_step",
    "pseudo_label.discriminator_start", "pseudo_label.optim.warmup_steps",
)  # fmt: skip

UNKNOWN = ", configuration unknown"
LONG_FLOAT = re.compile(r"(?<![\w.])-?\d+\.\d{7,}(?:e[+-]?\d+)?(?![\w.])")


def recipes(groups: Sequence[Group]) -> list[str]:
    """What tells each recipe apart, as a user would type it: `v3 pseudo_label=softmax optim.lr=0.003`.

    That is the experiment or the model, and what was typed for this recipe and not for all. Where that is the same
    for several, the length that was typed follows, and then as little as it takes of what else differs. All that
    differs stands in the table of the configurations.

    A recipe whose runs left no configuration takes no name away from one that is known: `v3, configuration unknown`.
    """
    heads = {base(group) for group in groups if group.settings}
    unknown = [group for group in groups if not group.settings and base(group) in heads]
    apart = {id(group): f"{name}{UNKNOWN}" for group, name in zip(unknown, _full_names(unknown), strict=True)}
    known = [group for group in groups if id(group) not in apart]
    names = apart | dict(zip(map(id, known), _full_names(known), strict=True))
    return shortened([names[id(group)] for group in groups])


def shortened(names: Sequence[str]) -> list[str]:
    """Names with six digits of their long floats, where they remain unlike each other."""
    short = [short_floats(name) for name in names]
    return [brief if short.count(brief) == 1 else name for name, brief in zip(names, short, strict=True)]


def short_floats(text: str) -> str:
    """`optim.lr=0.013000000000000001` -> `optim.lr=0.013`."""
    return LONG_FLOAT.sub(lambda match: f"{float(match[0]):.6g}", text)


def _full_names(groups: Sequence[Group]) -> list[str]:
    names: dict[int, str] = {}
    everywhere = set.intersection(*(set(group.typed.items()) for group in groups)) if groups else set()
    for word in dict.fromkeys(map(base, groups)):
        kin = [group for group in groups if base(group) == word]
        typed = {id(group): typed_keys(group, kin, everywhere) for group in kin}
        keys = {id(group): [key for key in typed[id(group)] if key not in LENGTHS][:SHOWN] for group in kin}
        for group in (group for alike in same_name(kin, keys) for group in alike):
            keys[id(group)] += [key for key in typed[id(group)] if key in LENGTHS][:1]
        for alike in same_name(kin, keys):
            for group in alike:
                keys[id(group)] += [key for key in telling_apart(group, alike) if key not in keys[id(group)]]
        for group in kin:
            hidden = {*typed[id(group)], *beside(keys[id(group)], kin)}.difference(LENGTHS, keys[id(group)])
            names[id(group)] = named(group, keys[id(group)]) + (f" +{len(hidden)} more" if hidden else "")
    return [names[id(group)] for group in groups]


def beside(keys: Sequence[str], kin: Sequence[Group]) -> set[str]:
    """The entries of a mapping, such as `class_thresholds`, of which one is shown and which differ too."""
    mappings = {key.rpartition(".")[0] for key in keys if key.count(".") > 1}
    return {key for key in varied_settings(kin) if key.rpartition(".")[0] in mappings} if mappings else set()


def named(group: Group, keys: Sequence[str]) -> str:
    """A recipe by these choices and settings."""
    values = {**group.settings, **group.choices}
    return " ".join([base(group), *(f"{key}={values[key]}" for key in keys)])


def same_name(kin: Sequence[Group], keys: Mapping[int, Sequence[str]]) -> list[list[Group]]:
    """The recipes that are named alike, each time several."""
    found: dict[str, list[Group]] = {}
    for group in kin:
        found.setdefault(named(group, keys[id(group)]), []).append(group)
    return [alike for alike in found.values() if len(alike) > 1]


def typed_keys(group: Group, kin: Sequence[Group], everywhere: Collection[tuple[str, str]]) -> list[str]:
    """Choices, then settings, that were typed for a recipe and make it another one; the lengths last."""
    typed = {key for key, value in group.typed.items() if (key, value) not in everywhere}
    choices = [name for name in group.choices if name in typed and name != "model"]
    varied = varied_settings(kin) if len(kin) > 1 else group.settings
    return [*choices, *sorted((key for key in varied if key in typed & group.settings.keys()), key=_rank)]


def telling_apart(group: Group, alike: Sequence[Group]) -> list[str]:
    """The choices in which recipes differ, and the first settings that tell one from all that chose the same."""
    choices = [name for name in group.choices if len({other.choices.get(name) for other in alike}) > 1]
    varied = varied_settings(alike)
    same = [other for other in alike if other is not group and other.choices == group.choices]
    own = [keys for other in same if (keys := set(own_settings(group, other, varied)))]
    shown = []
    for key in sorted({key for keys in own for key in keys}, key=_rank):
        if any(key in keys for keys in own):
            shown.append(key)
            own = [keys for keys in own if key not in keys]
    return [*choices, *shown]


def _rank(key: str) -> tuple[int, str]:
    """The order in which settings tell recipes apart: lengths last, the length itself first of them."""
    return (LENGTHS.index(key) + 1 if key in LENGTHS else 0, key)


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
