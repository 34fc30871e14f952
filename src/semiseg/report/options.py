"""The settings of `compare.py`, checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from omegaconf import DictConfig

from semiseg.config import settings, ungrouped
from semiseg.errors import ConfigError
from semiseg.report.collect import Filters


@dataclass
class CompareConfig:
    """What stands in conf/compare.yaml outside every group."""

    runs: str = "runs"
    baseline: str | None = None
    out: str = "runs/report"
    experiments: Any = None  # a pattern, or a list of them
    models: Any = None
    tags: Any = None
    since: str | None = None
    until: str | None = None
    mlflow: str | None = None
    output: str | None = None
    experiment_name: str | None = None

    def __post_init__(self) -> None:
        self.filters()

    def filters(self) -> Filters:
        """Which runs to take. Raises ConfigError for a day that is no date."""
        return Filters(
            listed(self.experiments), listed(self.models), listed(self.tags), day("since", self.since),
            day("until", self.until),
        )  # fmt: skip

    def typed_filters(self) -> str:
        """The filters as typed, for messages."""
        names = ("experiments", "models", "tags", "since", "until")
        return " ".join(f"{name}={getattr(self, name)}" for name in names if getattr(self, name) is not None)


def options_of(cfg: DictConfig) -> CompareConfig:
    """The checked settings. Raises ConfigError for a group of `train` (`+model=v1`), which would choose no run."""
    groups = [str(key) for key, value in cfg.items() if isinstance(value, DictConfig) and key != "tracking"]
    if groups:
        raise ConfigError(
            f"{', '.join(groups)}: settings of a training, which choose no run. Choose runs with models=WORD, "
            "experiments=WORD or tags=WORD."
        )
    return settings(CompareConfig, ungrouped(cfg), "")


def listed(value: Any) -> tuple[str, ...]:
    """One word or a list of words as words."""
    if value is None:
        return ()
    return tuple(str(each) for each in value) if isinstance(value, list | tuple) else (str(value),)


def day(name: str, text: str | None) -> date | None:
    """`2026-11-30` as a date."""
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{name}={text} is no day: write it as {name}=2026-11-30.") from error
