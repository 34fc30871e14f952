"""Inspections of small data sets, directly and through the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from semiseg.cli import main
from semiseg.data.build import build_data
from semiseg.data.config import DataConfig
from semiseg.data.layouts.salak import SalakLayout
from semiseg.inspection.figures import Inspection
from semiseg.inspection.scan import choose_patches, scan_patches


@pytest.fixture
def make_inspection(salak_root: Path, tmp_path: Path) -> Callable[..., Inspection]:
    """The inspection of `salak_root`, with any setting of `DataConfig` replaced."""

    def make(crop_size: int = 32, sample: int | None = None, **settings) -> Inspection:
        layout, cache = SalakLayout(), str(tmp_path / "cache")
        bundle = build_data(DataConfig(root=str(salak_root), layout=layout, cache_dir=cache, **settings))
        patches = choose_patches(bundle.pools, sample, seed=0)
        return Inspection(bundle, scan_patches(bundle, patches, lambda done: None), crop_size)

    return make


@pytest.fixture
def semiseg_inspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the verb with overrides, writing to tmp_path / "out"; its exit status."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def run(*overrides: str) -> int:
        places = [f"output={(tmp_path / 'runs').as_posix()}", f"out={(tmp_path / 'out').as_posix()}"]
        with pytest.raises(SystemExit) as stop:
            main(["inspect", *places, *overrides])
        assert isinstance(stop.value.code, int)
        return stop.value.code

    return run
