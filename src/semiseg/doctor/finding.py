"""What the doctor says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Sign = Literal["good", "bad"]


@dataclass(frozen=True)
class Finding:
    """One sign of how a run is doing, with the numbers it rests on.

    `remedy` holds the Hydra overrides to type after those of the run, quoted for a shell; "" for a good sign. `step`
    is the finished steps at which it could first be told (a good sign: the last evaluation).
    """

    rule: str
    sign: Sign
    evidence: str
    remedy: str = ""
    step: int | None = None
