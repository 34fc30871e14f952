"""The recipes under conf/, composed as the command line composes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from semiseg.cli import run_name
from semiseg.config import conf_dir


@pytest.fixture(scope="module")
def composed() -> Iterator[Callable[..., DictConfig]]:
    """`composed(*overrides)` is the config of `train`."""
    OmegaConf.register_new_resolver("run_name", run_name, use_cache=True, replace=True)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield lambda *overrides, verb="train": compose(verb, overrides=list(overrides))
