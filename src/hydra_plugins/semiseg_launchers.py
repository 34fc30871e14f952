"""Hydra's way to `semiseg.sweep.launcher`. Hydra reads this file at every start: what is heavy is imported later."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class LocalLauncher(Launcher):
    """`hydra/launcher=local`: every job a process of its own, `n_jobs` at a time."""

    def __init__(self, n_jobs: object = 1) -> None:
        self.n_jobs = n_jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from semiseg.sweep.launcher import Local

        self.local = Local(config, self.n_jobs)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        return self.local.launch(job_overrides, initial_job_idx)
