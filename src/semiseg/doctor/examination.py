"""All rules over one run."""

from __future__ import annotations

from collections.abc import Mapping

from semiseg.doctor.case import Case
from semiseg.doctor.finding import Finding
from semiseg.doctor.rules import RULES
from semiseg.doctor.signs import good_signs
from semiseg.report.history import Series


def examine(
    history: Mapping[str, Series],
    summary: Mapping[str, object],
    settings: Mapping[str, object] | None = None,
) -> list[Finding]:
    """What is to be said of a run: bad signs in the order in which they showed, then the good ones it has now.

    `summary` may be that of a run in progress, with few keys or none; `settings` are dotted config keys, from which
    remedies start.
    """
    case = Case(history, summary, settings or {})
    bad = [finding for rule in RULES for finding in rule(case)]
    return [*sorted(bad, key=lambda finding: finding.step or 0), *good_signs(case)]
