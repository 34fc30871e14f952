"""Run folders for the reports, without a training."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "run_folders.py"


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """`make_run(folder, model=.., seed=.., miou=.., ...)` of benchmarks/run_folders.py: writes a run folder."""
    spec = importlib.util.spec_from_file_location("run_folders", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_run
