"""The end of a run: what to type next."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from torch import nn

from semiseg.run_folder import RunFolder
from semiseg.summary import cost, left_out_of_miou, next_command


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A run of a model that ended, started with some overrides."""

    def make(model: str, *overrides: str, output: str = "runs", sweep: bool = False, data: str = "demo") -> Any:
        hydra = SimpleNamespace(overrides=SimpleNamespace(task=list(overrides)))
        monkeypatch.setattr(HydraConfig, "get", lambda: hydra)
        config = SimpleNamespace(model=SimpleNamespace(name=model), output=output)
        if sweep:
            (tmp_path / "sweep").mkdir()
            (tmp_path / "sweep" / "sweep.json").write_text("{}", encoding="utf-8")
        return SimpleNamespace(
            choices={"data": data}, config=config, folder=RunFolder(tmp_path / "sweep" / "0"), original=None
        )

    return make


def test_after_v3_comes_v1_and_after_the_others_v3(ended) -> None:
    assert next_command(ended("v3")) == "python train.py model=v1    then    python compare.py"
    assert next_command(ended("lightweight")) == "python train.py model=v3    then    python compare.py"


def test_the_next_run_has_the_data_and_the_place_of_this_one(ended) -> None:
    typed = ("model=v3", "data=salak", 'data.root="D:/my data"', "name=a", "trainer.max_steps=9", "output=out")
    train, compare = next_command(ended("v3", *typed, output="out")).split("    then    ")
    assert train == """python train.py model=v1 data=salak "data.root='D:/my data'" output=out"""
    assert compare == "python compare.py runs=out"


def test_the_data_that_an_experiment_chose_is_named(ended) -> None:
    train, _ = next_command(ended("lightweight", "experiment=own", "data.root=VOC2012", data="voc")).split(
        "    then    "
    )
    assert train == "python train.py model=v3 data=voc data.root=VOC2012"


def test_a_job_of_a_sweep_leaves_the_last_word_to_the_sweep(ended) -> None:
    assert next_command(ended("v3", "seed=1", sweep=True)) == ""


def test_a_device_that_failed_does_not_hide_what_ended_the_run() -> None:
    def lost(image: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("CUDA error: device-side assert triggered")

    network = nn.Conv2d(3, 2, 1)
    network.forward = lost  # type: ignore[method-assign]
    run: Any = SimpleNamespace(method=SimpleNamespace(student=network))
    assert cost(run, 8, "failed") is None
    with pytest.raises(RuntimeError, match="device-side"):
        cost(run, 8, "finished")


def test_classes_left_out_of_the_mean_are_named() -> None:
    bundle: Any = SimpleNamespace(
        classes=SimpleNamespace(names=("background", "road", "palm")), config=SimpleNamespace(exclude_from_miou=[0, 2])
    )
    assert left_out_of_miou(bundle) == ["background", "palm"]
