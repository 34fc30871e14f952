"""The sweep of a grid: every combination once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from semiseg.sweep.grid import Combination, combinations
from semiseg.sweep.record import Job, Sweep
from semiseg.sweep.session import Session


def run_grid(
    session: Session, params: Mapping[str, object], alternatives: Sequence[Sequence[str]], arguments: Sequence[str]
) -> None:
    """Run every combination that is not done yet. Raises SemisegError when jobs failed."""
    jobs = planned(session.sweep, combinations(params, alternatives, arguments))
    session.begin(len(jobs))
    session.run([job for job in jobs if not job.done])
    session.conclude()


def planned(sweep: Sweep, combinations: Sequence[Combination]) -> list[Job]:
    """The job of each combination: the one the sweep has, or a new one."""
    known = {tuple(job.overrides): job for job in sweep.jobs}
    return [known.get(each.overrides) or sweep.add(each.overrides, each.varied) for each in combinations]
