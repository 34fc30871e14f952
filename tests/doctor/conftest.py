"""Histories as tests write them, and the recipes that remedies are pasted to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from semiseg.cli import run_name
from semiseg.config import conf_dir
from semiseg.report.history import History, series

EVERY = 500


@pytest.fixture
def course() -> Callable[..., History]:
    """`course({"gap": [0.1, 0.2]})`: a value an evaluation of each quantity, `every` steps apart; None is left out.

    "val/miou" rises, unless it is given.
    """

    def make(quantities: Mapping[str, Sequence[float | None]], every: int = EVERY) -> History:
        length = max(len(values) for values in quantities.values())
        rising = {"val/miou": [0.5 + 0.001 * n for n in range(length)]}
        history = {}
        for name, values in (rising | dict(quantities)).items():
            pairs = [(every * (n + 1), value) for n, value in enumerate(values) if value is not None]
            history[name] = series([step for step, _ in pairs], [value for _, value in pairs])
        return history

    return make


@pytest.fixture(scope="module")
def composed() -> Iterator[Callable[..., DictConfig]]:
    """`composed(*overrides)` is the config of `train`."""
    OmegaConf.register_new_resolver("run_name", run_name, use_cache=True, replace=True)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield lambda *overrides: compose("train", overrides=list(overrides))
