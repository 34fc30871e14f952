"""Seconds a training step: the engine against a bare PyTorch loop doing the same work, alternating in one process.

    python benchmarks/step.py [model=v3] [steps=10] [rounds=6] [OVERRIDE ...]

Both loops train their own copy of one network from the same start on the same prepared batches: forward, named losses,
backward, clipping, optimiser step, average. What the engine adds is the schedule, the meter, logging to the metrics
file, MLflow and the console. It should stay within 5 %.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

from semiseg.cli import run_name
from semiseg.config import conf_dir
from semiseg.contracts import Batch
from semiseg.engine.engine import Engine
from semiseg.run_folder import RunFolder
from semiseg.train import Run
from semiseg.console import PlainConsole


class Repeated:
    """One batch again and again in place of the data stream, so that only the loops differ."""

    skipped = 0

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.position: dict[str, int] = {}

    def __next__(self) -> Batch:
        return self.batch

    def close(self) -> None:
        """Nothing to stop."""


def make_run(overrides: list[str], folder: Path) -> Run:
    """A run as `train.py` builds it, with the hottest logging: every 10 steps to every place."""
    OmegaConf.register_new_resolver("run_name", run_name, use_cache=True, replace=True)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("train", overrides=[f"output={folder}", *overrides])
    run_folder = RunFolder(folder / "run")
    run_folder.open(resume=False)
    run_folder.write_config(config, overrides)
    sink = (folder / "console.txt").open("w", encoding="utf-8")
    return Run(config, run_folder, PlainConsole(stream=sink), {})
