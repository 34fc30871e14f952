"""What README, docs and the recipes' comments tell users to type is composed, and the example in the docs is run."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from semiseg.cli import VERBS
from semiseg.config import build, conf_dir, resolved, settings
from semiseg.data.config import DataConfig
from semiseg.engine.settings import OptimConfig, TrainerConfig

PROJECT = Path(__file__).parents[1]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
RECIPES = sorted((PROJECT / "conf").rglob("*.yaml"))
GROUPS = {path.name for path in (PROJECT / "conf").iterdir() if path.is_dir()}
COMMAND = re.compile(rf"(?:python train\.py|python compare\.py|(?:python -m )?semiseg (?:{'|'.join(VERBS)}))(?=\s|$)")
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
NAMED_FILE = re.compile(r"`([\w./]+)`:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")

# Every flag of the guides, those in running text and troubleshooting included.
GUIDE_FLAGS = """
--backbone --batch-size --batch_size --ce-weight --checkpoint --checkpoint-dir --class-mapping --confidence-threshold
--data-root --dice-weight --ema-decay --enhanced_aug --epochs --eval-every --focal-weight --focal_alpha --focal_gamma
--gradient-clip --history_path --image_size --labeled-list --lambda-st --learning-rate --loss_type --lr --multi-scale
--no-multi-scale --no-use-class-weights --no-use-classwise-threshold --no-wandb --num-classes --num-heads --num-steps
--num_workers --output-stride --output_dir --random-mirror --random-scale --restore-from --resume --save-latest-every
--save-pred-every --scale-max --scale-min --st-loss-weight --threshold-st --train_set --use-class-weights
--use-classwise-threshold --use-combined-loss --use-multi-head --val-split --wandb-project --warmup-iters --weight_decay
"""
BASE = {
    "v1": ["model=v1", "data=salak", "data.root=PATH"],
    "v3": ["model=v3", "data=salak", "data.root=PATH"],
    "lightweight": ["model=lightweight", "data=voc", "data.root=PATH"],
}


@dataclass(frozen=True)
class Flag:
    """A row of docs/flags.md."""

    name: str
    scripts: tuple[str, ...]
    overrides: tuple[str, ...]  # none where there is nothing to set
    default: str | None  # as printed, where it is a value


def read_flags() -> list[Flag]:
    rows = []
    for line in (PROJECT / "docs" / "flags.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `--"):
            flag, scripts, override, default, _ = [cell.strip() for cell in line.strip("|").split("|")]
            code = CODE.findall(override)
            shown = CODE.fullmatch(default)
            rows.append(
                Flag(
                    name=CODE.findall(flag)[0].split()[0],
                    scripts=tuple(scripts.split(", ")),
                    overrides=tuple(code[0].split()) if code else (),
                    default=shown[1] if shown else None,
                )
            )
    return rows


FLAGS = read_flags()


@dataclass(frozen=True)
class Command:
    """A command line as printed: where, which verb, and its overrides."""

    page: str
    verb: str
    overrides: tuple[str, ...]
    own_recipes: bool


def read_commands(page: str, lines: list[str]) -> Iterator[Command]:
    """Commands at the start of a line or after `&&`; what follows two blanks or a `#` describes them."""
    for line in lines:
        for part in line.split(" && "):
            match = COMMAND.match(part)
            if match and "OVERRIDE" not in part and "KEY" not in part:
                typed = re.split(r"\s{2,}|\s#", part[match.end() :])[0]
                assert not re.search(r"(?<!\S)'(?!\S*\$\{)", typed), f"{typed}: single quotes are none to cmd.exe"
                words = [word for word in shlex.split(typed) if word != "..."]
                options = {n for n, word in enumerate(words) if word.startswith("-")}
                values = {n + 1 for n in options if words[n] in ("--cfg", "--package", "--info")}
                overrides = [word for n, word in enumerate(words) if n not in options | values]
                verb = re.findall("|".join(VERBS), match[0])[-1]
                yield Command(page, verb, tuple(overrides), "--config-dir=recipes" in words)


def all_commands() -> list[Command]:
    found = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        lines = [line for block in FENCE.findall(text) for line in block.splitlines()]
        lines += CODE.findall(FENCE.sub("", text))
        found += read_commands(path.name, [line.lstrip("# ") for line in lines])
    for path in RECIPES:
        lines = [line.lstrip("# ") for line in path.read_text(encoding="utf-8").splitlines()]
        found += read_commands(path.relative_to(PROJECT).as_posix(), lines)
    return list({(c.verb, c.overrides, c.own_recipes): c for c in found}.values())


COMMANDS = all_commands()


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Path:
    """A folder with the files that the docs print with their names."""
    folder = tmp_path_factory.mktemp("examples")
    for page in PAGES:
        for name, text in NAMED_FILE.findall(page.read_text(encoding="utf-8")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module", autouse=True)
def hydra_search() -> Iterator[None]:
    OmegaConf.register_new_resolver("run_name", lambda prefix: prefix, replace=True)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield


def jobs(overrides: tuple[str, ...]) -> Iterator[list[str]]:
    """The overrides of a sweep's jobs, as many as it takes for every value to occur once."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = [list(o.sweep_string_iterator()) if o.is_sweep_override() else [None] for o in parsed]
    for number in range(max(map(len, values), default=1)):
        chosen = [options[min(number, len(options) - 1)] for options in values]
        yield [
            text if value is None else f"{o.key_or_group}={value}"
            for text, o, value in zip(overrides, parsed, chosen, strict=True)
        ]


def check_data(config: DictConfig) -> None:
    """The data settings take their values, and so does the layout."""
    for key in OmegaConf.missing_keys(config.data):  # given with the node's own name
        OmegaConf.update(config, key, "PATH")
    node = {key: value for key, value in resolved(config.data, "data").items() if key != "layout"}
    settings(DataConfig, node, "data")
    build(config.data.layout, "data")


def check_training(config: DictConfig) -> None:
    """The closed settings and the constructors of the open choices take every value."""
    check_data(config)
    settings(TrainerConfig, config.trainer, "trainer")
    settings(OptimConfig, config.optim, "optim")
    for group in ("loss", "aug", "pseudo_label"):
        build(config[group], group)
    network = resolved(config.model, "model").keys() - {"_target_", "name", "recipe"}
    assert network <= set(inspect.signature(get_class(config.model._target_)).parameters)


CHECKS = {"train": check_training, "inspect": check_data}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: f"{c.page}: {c.verb} {' '.join(c.overrides)}")
def test_every_printed_command_composes(command: Command, examples: Path, monkeypatch):
    monkeypatch.syspath_prepend(examples)
    search = [f"hydra.searchpath=['file://{(examples / 'recipes').as_posix()}']"] if command.own_recipes else []
    for overrides in jobs(command.overrides):
        config = compose(command.verb, overrides=[*search, *overrides])
        if command.verb in CHECKS:
            CHECKS[command.verb](config)


def test_commands_are_found_where_they_are_printed():
    assert {"README.md", "configuration.md", "conf/train.yaml"} <= {command.page for command in COMMANDS}
    assert any(command.own_recipes for command in COMMANDS)


def test_the_table_of_flags_lists_each_flag_of_the_guides():
    assert {flag.name for flag in FLAGS} == set(GUIDE_FLAGS.split())


@pytest.mark.parametrize("script", BASE)
def test_flags_compose_as_overrides_and_have_the_printed_defaults(script: str):
    base = compose("train", overrides=BASE[script], return_hydra_config=True)
    left = [o for flag in FLAGS if script in flag.scripts for o in flag.overrides if o not in BASE[script]]
    assert left
    while left:  # one of each key at a time
        batch = {o.partition("=")[0]: o for o in reversed(left)}
        check_training(compose("train", overrides=[*BASE[script], *batch.values()]))
        left = [o for o in left if o not in batch.values()]
    for flag in FLAGS:
        if script in flag.scripts and flag.default is not None:
            key = flag.overrides[0].partition("=")[0]
            default = OverridesParser.create().parse_override(f"key={flag.default}").value()
            value = base.hydra.runtime.choices[key] if key in GROUPS else OmegaConf.select(base, key)
            assert value == default, f"{flag.name} of {script}: the default of {key} is {value}"


def test_links_and_the_files_of_the_tour_exist():
    texts = {page: FENCE.sub("", page.read_text(encoding="utf-8")) for page in PAGES}
    linked = [page.parent / target for page, text in texts.items() for target in LINK.findall(text)]
    tour = [PROJECT / file for file in re.findall(r"`((?:src|conf)/[\w./]+)`", texts[PROJECT / "README.md"])]
    assert len(tour) >= 6
    assert not [str(path) for path in [*linked, *tour] if not path.exists()]


def test_the_example_pseudo_labeler_trains_from_its_own_folder(examples: Path, salak_root: Path):
    settings = [
        "pseudo_label=entropy", "pseudo_label.max_entropy=1.0", "pseudo_label.start_step=0", "data=salak",
        f"data.root='{salak_root.as_posix()}'", "model.encoder=resnet18", "model.encoder_weights=null", "name=example",
        "trainer.max_steps=1", "trainer.crop_size=32", "trainer.batch_size=2", "trainer.device=cpu", "tracking=none",
    ]  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-m", "semiseg", "train", "--config-dir=recipes", *settings],
        cwd=examples,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    folder = examples / "runs" / "semiseg" / "example"
    first = json.loads((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert 0 < first["pseudo_label/entropy"] <= 1
    assert first["st/coverage"] > 0.9  # nearly every pixel is below the largest entropy there is
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["status"] == "finished"
    next_one = re.search(r"^Next: semiseg train (.*)    then", run.stdout, re.MULTILINE)
    assert next_one is not None and f"--config-dir={(examples / 'recipes').as_posix()}" in shlex.split(next_one[1])
    again = ["--config-dir=recipes", "resume=true", "name=example", "trainer.max_steps=2"]  # in front of what is stored
    run = subprocess.run(
        [sys.executable, "-m", "semiseg", "train", *again], cwd=examples, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["steps"] == 2
