"""Which runs may be compared: those on the same data, split and evaluation; and no seed of a recipe twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from semiseg.report.collect import Run
from semiseg.report.group import Cohort, group_runs

SHOWN = 4  # settings named as the reason


def without_repeats(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Runs of which no two are the same recipe with the same seed on the same data, and those they replace.

    Such a pair is no second seed: taken for one, it would make every spread too small. The later one counts.
    """
    newest: dict[tuple[object, ...], Run] = {}
    keys = {comparable_key(run) for run in runs}
    for run in sorted(runs, key=lambda each: each.written):
        cells = run.settings or run.choices
        own = run.folder if run.seed == "?" else run.seed
        newest[(run.model, own, completed(comparable_key(run), keys), *sorted(cells.items()))] = run
    kept = {id(run) for run in newest.values()}
    return [run for run in runs if id(run) in kept], [run for run in runs if id(run) not in kept]


def comparable_key(run: Run) -> tuple[str, str, str]:
    """What has to agree before two scores can be compared: data and split, patch size, classes that count.

    "?" stands for what runs of older versions do not say.
    """
    size, left_out = run.summary.get("eval_size"), run.summary.get("miou_leaves_out")
    shown_size = "x".join(map(str, size)) if isinstance(size, list) else "?"
    excluded = ", ".join(map(str, left_out)) if isinstance(left_out, list) else "?"
    return run.fingerprint, shown_size, excluded


def cohorts(runs: Sequence[Run]) -> list[Cohort]:
    """Runs apart by what cannot be compared, each with the reason; the one with the most runs first."""
    parted: dict[tuple[str, str, str], list[Run]] = {}
    keys = {comparable_key(run) for run in runs}
    for run in runs:
        parted.setdefault(completed(comparable_key(run), keys), []).append(run)
    largest = sorted(parted.items(), key=lambda item: -len(item[1]))
    if len(largest) == 1:
        return [Cohort("", "", tuple(group_runs(runs)))]
    if not largest:
        return []
    main_key, main_runs = largest[0]
    return [
        Cohort(f"data {number}", separation(key, members[0], main_key, main_runs[0]), tuple(group_runs(members)))
        for number, (key, members) in enumerate(largest, start=1)
    ]


def completed(key: tuple[str, str, str], known: set[tuple[str, str, str]]) -> tuple[str, str, str]:
    """What an older run does not say is what the other runs on its data say, where these agree."""
    fingerprint, *rest = key
    full = []
    for position, value in enumerate(rest, start=1):
        others = {other[position] for other in known if other[0] == fingerprint} - {"?"}
        full.append(others.pop() if value == "?" and len(others) == 1 else value)
    return fingerprint, full[0], full[1]


def separation(key: tuple[str, str, str], run: Run, main_key: tuple[str, str, str], main: Run) -> str:
    """Why the runs of `key` are not compared with those of `main_key`, in words."""
    pools = run.summary.get("pools")
    sizes = ", ".join(f"{n} {pool}" for pool, n in pools.items()) if isinstance(pools, Mapping) else "sizes unknown"
    described = f"Data fingerprint {key[0]} (patches: {sizes}), evaluated on patches of {key[1]}"
    described += f", mIoU without {key[2]}." if key[2] not in ("", "?") else "."
    if key == main_key:
        return described
    other_data = key[0] != main_key[0]
    settings = [f"{k}={v} instead of {main.settings[k]}" for k, v in run.settings.items() if of_data(k, v, main)]
    checks: list[tuple[bool, str]] = [
        (run.classes != main.classes and bool(run.classes and main.classes), "other classes"),
        (other_data and key[0] == "unknown", "the runs do not say what data they used (an older version wrote them)"),
        (other_data and key[0] != "unknown", "other patches or another split"),
        (other_data and bool(settings), ", ".join(settings[:SHOWN])),
        (key[1] != main_key[1], f"patches of {key[1]} instead of {main_key[1]} pixels in the evaluation"),
        (key[2] != main_key[2], f"mIoU leaves out {key[2] or 'no class'} instead of {main_key[2] or 'no class'}"),
    ]
    return f"{described} Not compared with data 1: {'; '.join(text for differs, text in checks if differs)}."


def of_data(key: str, value: str, other: Run) -> bool:
    """Whether a setting says what was trained and validated on, and another run has another value of it."""
    return key.startswith("data.") and other.settings.get(key, value) != value
