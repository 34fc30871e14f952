"""The doctor beside a training in progress: it keeps the few numbers that the rules read, and no file is read again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from semiseg.doctor.case import is_evaluated, is_logged
from semiseg.doctor.examination import examine
from semiseg.doctor.finding import Finding
from semiseg.report.history import series


class Watch:
    """The course of one run, a value a quantity and evaluation.

    What it finds is computed from this course alone, so that a resumed run finds what an undisturbed one does and says
    nothing twice. `settings` are dotted config keys, from which remedies start.
    """

    def __init__(self, class_names: Sequence[str], settings: Mapping[str, Any]) -> None:
        self.settings = settings
        left_out = [class_names[number] for number in settings.get("data.exclude_from_miou") or ()]
        self.facts = {"classes": list(class_names), "miou_leaves_out": left_out, "model": settings.get("model.name")}
        self.course: dict[str, tuple[list[int], list[float]]] = {}  # name -> steps, values
        self.sums: dict[str, tuple[float, int]] = {}  # of what was logged since the last evaluation, with its count

    def log(self, values: Mapping[str, float]) -> None:
        """Take in the quantities of a log step."""
        for name, value in values.items():
            if is_logged(name):
                total, count = self.sums.get(name, (0.0, 0))
                self.sums[name] = (total + value, count + 1)

    def evaluation(self, step: int, values: Mapping[str, float]) -> list[Finding]:
        """Take in the quantities of an evaluation; the bad signs that show at this one for the first time."""
        self._add(step, {name: total / count for name, (total, count) in self.sums.items()})
        self._add(step, {name: value for name, value in values.items() if is_evaluated(name)})
        self.sums = {}
        return [finding for finding in self.findings() if finding.sign == "bad" and finding.step == step]

    def not_finite(self, step: int, losses: Iterable[str]) -> None:
        """Note the losses that end the training at this step."""
        self._add(step, dict.fromkeys(losses, float("nan")))

    def findings(self) -> list[Finding]:
        """All there is to say of the run so far."""
        return examine({name: series(*each) for name, each in self.course.items()}, self.facts, self.settings)

    def _add(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            steps, past = self.course.setdefault(name, ([], []))
            steps.append(step)
            past.append(value)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"course": self.course, "sums": self.sums}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Counterpart of `state_dict`; a checkpoint of an older version has none, and the course begins there."""
        self.course = {name: (list(steps), list(past)) for name, (steps, past) in state.get("course", {}).items()}
        self.sums = dict(state.get("sums", {}))
