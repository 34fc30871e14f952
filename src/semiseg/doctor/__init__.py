"""The run doctor: the guides' good and bad signs as rules, and their success criteria, over what a run logged."""

from semiseg.doctor.criteria import Criterion, Verdict, judge
from semiseg.doctor.examination import examine
from semiseg.doctor.finding import Finding
from semiseg.doctor.watch import Watch

__all__ = ["Criterion", "Finding", "Verdict", "Watch", "examine", "judge"]
