"""Settings of the data (`data.*`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from semiseg.errors import ConfigError

SPLITS = ("source", "patch")
REACTIONS = ("raise", "skip")


@dataclass
class DataConfig:
    """Which patches there are, which of them are labelled, and which are held out.

    `labeled_list` and `val_list` are text files that name base images (sources), one a line, extension optional, with
    `#` comments. Sources of `val_list` are the validation set; `val_split` is then not used. Paths may be relative to
    the working directory.
    """

    root: str | None = None
    layout: Any = None  # the instantiated layout by the time build_data reads it
    class_mapping: str | None = None  # null = what the layout takes by itself
    labeled_list: str | None = None
    val_list: str | None = None
    val_split: float = 0.2
    split_by: str = "source"
    split_seed: int = 0
    on_error: str = "raise"
    exclude_from_miou: list[int] = field(default_factory=list)
    class_thresholds: Any = None  # read by the pseudo-labelers
    cache_dir: str = "runs/cache"
    encoder_weights: str | None = None  # read by the models

    def __post_init__(self) -> None:
        for name, value, valid in (
            ("split_by", self.split_by, SPLITS),
            ("on_error", self.on_error, REACTIONS),
        ):
            if value not in valid:
                raise ConfigError(f"data.{name} is {value!r}; it must be one of {', '.join(valid)}.")
        if not 0 < self.val_split < 1:
            raise ConfigError(f"data.val_split is {self.val_split:g}; it must lie between 0 and 1, such as 0.2.")
        if self.split_seed < 0:
            raise ConfigError(f"data.split_seed is {self.split_seed}; it must be 0 or more.")
