from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from semiseg.tracking import NullTracker
from semiseg.tracking.mlflow import MLflowTracker

CONF = Path(__file__).parents[2] / "conf" / "tracking"


@pytest.mark.parametrize(("name", "kind"), [("mlflow", MLflowTracker), ("none", NullTracker)])
def test_each_choice_builds_its_tracker(name, kind):
    node = OmegaConf.load(CONF / f"{name}.yaml")
    cfg = OmegaConf.create({"experiment_name": "demo", "output": "runs", "tracking": node})
    assert isinstance(instantiate(cfg.tracking), kind)
