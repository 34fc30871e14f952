"""What to know before the scores of a cohort are believed."""

from __future__ import annotations

from semiseg.overrides import override
from semiseg.report.group import Cohort, Group
from semiseg.report.leftovers import some
from semiseg.shell import program


def planned(group: Group) -> frozenset[float]:
    """For how many iterations its runs were meant; empty where they do not say."""
    lengths = (run.number("total_steps") or run.number("steps") for run in group.runs)
    return frozenset(length for length in lengths if length)


def trained(group: Group) -> str:
    """How many iterations a recipe ran: `2,000`, or `900 of 2,000` where it stopped early."""
    done = [(run.number("steps"), run.number("total_steps")) for run in group.runs]
    lengths = sorted({(steps or of, of or steps) for steps, of in done if steps or of})
    return " or ".join(f"{steps:,.0f}" if steps == of else f"{steps:,.0f} of {of:,.0f}" for steps, of in lengths)


def length_notes(cohort: Cohort) -> list[str]:
    """A line for each length that is not the baseline's: what trained longer may be better for that alone.

    To stop early belongs to a recipe: it is no other length.
    """
    base = cohort.baseline
    wanted = planned(base) if base else frozenset()
    others: dict[str, list[str]] = {}
    for group in cohort.groups:
        if wanted and planned(group) not in (frozenset(), wanted):
            others.setdefault(trained(group), []).append(group.name)
    return [
        f"{some(names)} trained {length} iterations, the baseline {trained(base)}: the difference may be that of the "
        "length."
        for length, names in others.items()
        if base
    ]


def alone_note(cohort: Cohort) -> str:
    """What to type where there is one recipe; "" where there are several."""
    if len(cohort.groups) != 1:
        return ""
    (only,) = cohort.groups
    other = "v3" if only.model == "v1" else "v1"
    several, seeds = " -m" * (len(only.seeds) > 1), ",".join(only.seeds)
    return (
        f"There is nothing to compare: {only.name} is the only recipe on this data. Train another one on it, such as "
        f"{program('train')}{several} model={other} seed={seeds} with the data settings of this run, and compare again."
    )


def baseline_note(cohort: Cohort) -> str:
    """Which recipe the others are held against where the word for it fits several; "" where it fits one."""
    if cohort.baseline is None or not cohort.rivals:
        return ""
    others = [each.name for each in cohort.rivals]
    return (
        f"The baseline fits {len(others) + 1} recipes and is {cohort.baseline.name}, the one with the fewest changes. "
        f"Choose another with {override('baseline', others[0])}"
        + (f"; the others are {some(others[1:])}." if others[1:] else ".")
    )
