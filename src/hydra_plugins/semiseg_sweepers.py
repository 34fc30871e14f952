"""Hydra's way to `semiseg.sweep`. Hydra reads this file at every start: what is heavy is imported later."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class SemisegSweeper(Sweeper):
    """Keeps the sweeper's settings as they were written: an interpolation in one is for the jobs to resolve."""

    def __init__(self, **_: object) -> None: ...

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.parts = (config, self.launcher, hydra_context.config_loader)
        self.settings: dict[str, Any] = OmegaConf.to_container(config.hydra.sweeper, resolve=False)  # type: ignore
        del self.settings["_target_"]


class GridSweeper(SemisegSweeper):
    """`hydra/sweeper=grid`: every combination of the values."""

    def sweep(self, arguments: list[str]) -> None:
        from semiseg.sweep.session import Session
        from semiseg.sweep.sweepers import run_grid

        with closing(Session(*self.parts)) as session:
            run_grid(session, self.settings["params"] or {}, self.settings["alternatives"] or [], arguments)


class OptunaSweeper(SemisegSweeper):
    """`hydra/sweeper=optuna`: Optuna chooses the values."""

    def sweep(self, arguments: list[str]) -> None:
        from semiseg.config import settings
        from semiseg.sweep.search import Search, SearchConfig, import_optuna
        from semiseg.sweep.session import Session

        import_optuna()
        space = self.settings.pop("params") or {}
        self.settings.pop("alternatives", None)  # of the grid, in whose place +sweep=WORD puts this
        config = settings(SearchConfig, self.settings, "hydra.sweeper")
        with closing(Session(*self.parts)) as session:
            Search(session, config, space, arguments).run()
