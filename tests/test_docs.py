"""What README, docs and the recipes' comments tell users to type is composed, and the example in the docs is run."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from semiseg.config import build, conf_dir, resolved, settings
from semiseg.data.config import DataConfig
from semiseg.engine.settings import OptimConfig, TrainerConfig

PROJECT = Path(__file__).parents[1]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
RECIPES = sorted((PROJECT / "conf").rglob("*.yaml"))
GROUPS = {path.name for path in (PROJECT / "conf").iterdir() if path.is_dir()}
COMMAND = re.compile(r"(?:python train\.py|python compare\.py|(?:python -m )?semiseg (?:train|compare|inspect))(?=\s|$)")
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`([\w./]+)`:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")

# Every flag that the three guides give a meaning, the ones in running text and troubleshooting included.
GUIDE_FLAGS = """
--backbone --batch-size --batch_size --ce-weight --checkpoint --checkpoint-dir --class-mapping --confidence-threshold
--data-root --dice-weight --ema-decay --enhanced_aug --epochs --eval-every --focal-weight --focal_alpha --focal_gamma
--gradient-clip --history_path --image_size --labeled-list --lambda-st --learning-rate --loss_type --lr --multi-scale
--no-multi-scale --no-use-class-weights --no-use-classwise-threshold --no-wandb --num-classes --num-heads --num-steps
--num_workers --output-stride --output_dir --random-mirror --random-scale --restore-from --resume --save-latest-every
--save-pred-every --scale-max --scale-min --st-loss-weight --threshold-st --train_set --use-class-weights
--use-classwise-threshold --use-combined-loss --use-multi-head --val-split --wandb-project --warmup-iters --weight_decay
""".split()
BASE = {
    "v1": ["model=v1", "data=salak", "data.root=PATH"],
    "v3": ["model=v3", "data=salak", "data.root=PATH"],
    "lightweight": ["model=lightweight", "data=voc", "data.root=PATH"],
}


# --- composing what is typed ---


@pytest.fixture(scope="module", autouse=True)
def searched() -> Iterator[None]:
    """Hydra looks into conf/."""
    OmegaConf.register_new_resolver("run_name", lambda prefix: prefix, replace=True)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


def check(config: DictConfig) -> None:
    """The closed settings take the values, and the constructors of the open choices take theirs."""
    settings(TrainerConfig, config.trainer, "trainer")
    settings(OptimConfig, config.optim, "optim")
    data = {key: value for key, value in config.data.items() if key != "layout" and not OmegaConf.is_missing(config.data, key)}
    settings(DataConfig, OmegaConf.create(data), "data") if "root" not in OmegaConf.missing_keys(config.data) else None
    build(config.data.layout, "data")
    for group in ("loss", "aug", "pseudo_label"):
        build(config[group], group)
    network = set(resolved(config.model, "model")) - {"_target_", "name", "recipe"}
    assert network <= set(inspect.signature(get_method(config.model._target_)).parameters)


def jobs(overrides: list[str]) -> Iterator[list[str]]:
    """The overrides of each job of a sweep, so that every value of each list occurs in one."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    values = [list(o.sweep_string_iterator()) if o.is_sweep_override() else [o.get_value_element_as_str()] for o in parsed]
    for number in range(max(map(len, values), default=1)):
        yield [f"{o.get_key_element()}={v[min(number, len(v) - 1)]}" for o, v in zip(parsed, values, strict=True)]


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Verb and overrides of each command line in a text; Hydra's own options are left out."""
    for line in text.splitlines():
        for part in line.split(" && "):
            if match := COMMAND.match(part):
                words = shlex.split(re.split(r"\s{3,}|\s#", part[match.end() :].strip())[0])
                verb = re.findall(r"train|compare|inspect", match[0])[-1]
                yield verb, [word for word in words if "=" in word and not word.startswith("-")]
