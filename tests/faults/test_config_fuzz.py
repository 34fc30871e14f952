"""Any choice of groups trains; any one wrong value is refused in one message that names it, or trains all the same.

SEMISEG_FAULTS=long tries every value at every leaf of every system, typed ones through the command line.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from tests.faults.tiny_runs import LONG, SYSTEMS, TREES, Bench, GaveNoAnswer, tiny

from semiseg.engine.engine import Engine
from semiseg.overrides import words

WRONG: dict[str, Any] = {
    "word": "abc",
    "empty text": "",
    "blank": " ",
    "one": 1,
    "half": 0.5,
    "negative": -1,
    "zero": 0,
    "large": 1_000_000,
    "huge": 10**12,
    "beyond 64 bits": 10**30,
    "huge float": 1e300,
    "tiny float": 1e-300,
    "not a number": math.nan,
    "infinite": math.inf,
    "minus infinite": -math.inf,
    "null": None,
    "true": True,
    "list": [1, "a"],
    "empty list": [],
    "nested list": [[0.5], [None]],
    "mapping": {"a": 1},
    "empty mapping": {},
    "path": "no/such/folder/file.csv",
    "odd text": "a'b\"c[d]{e}\\ü$=,",
    "two lines": "a\nb",
    "null character": "a\0b",
    "long text": "x" * 5000,
    "interpolation": "${nowhere.to.be.found}",
    "missing": "???",
}
TYPED = (  # on the command line, as users type them
    "abc", "", "-1", "0", "1e12", "1e300", "nan", "inf", "null", "true", "[1,a]", "[]", "{a:1}", "no/such/file.csv",
    "'a\"b [c] {d} ü'", "${nowhere}", "${", "???", "1,2", "a=b", "'", "[", "{", "$", "\\", "range(1,3)", "\t", "../..",
)  # fmt: skip
BROKEN_FILES = {
    "a bracket left open": b"trainer: [1",
    "a tab": b"trainer:\n\tmax_steps: 1\n",
    "a list": b"- trainer\n- loss\n",
    "a word": b"trainer\n",
    "the same key twice": b"trainer:\n  max_steps: 1\ntrainer:\n  max_steps: 2\n",
    "no text": b"\x89PNG\r\n\x1a\n\x00\xff\xfe",
    "defaults that are no list": b"defaults: loss\n",
    "defaults of a group that is not there": b"defaults:\n  - override /lss: ce\n",
    "a word that is not there": b"defaults:\n  - override /loss: cee\n",
    "a loop": b"trainer:\n  max_steps: ${trainer.max_epochs}\n  max_epochs: ${trainer.max_steps}\n",
    "an unknown resolver": b"trainer:\n  max_steps: ${nothing:1}\n",
}
EXPERIMENTS = {  # and the system that each is of
    "v3_1": "v3",
    "ladder/6_multi_scale": "v3",
    "ladder/0_v1": "v1",
    "ladder/8_schedule": "v3",
    "lightweight_recipe2_efficient": "lightweight",
}
GROUPS = ("loss", "pseudo_label", "aug", "optim")
TAUGHT = ("distillation",)  # by the run of another training


def short(examples: int) -> settings:
    """So many examples, the same ones each time."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.generate,),  # an example takes a second: shrinking a failure would take minutes
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench.plant(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(scope="module")
def configs(bench: Bench) -> dict[str, DictConfig]:
    """The composed config of one thin step of each system."""
    return {system: bench.composed(*tiny(system)) for system in SYSTEMS}


@pytest.fixture(autouse=True)
def one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a run a value asks for, its first step says whether it trains."""
    monkeypatch.setattr(Engine, "_out_of_patience", lambda self: self.step >= 1)


def leaves(node: Any, where: str = "") -> Iterator[str]:
    """The dotted path of every value, entries of lists included."""
    if not OmegaConf.is_config(node):
        yield where
        return
    keys = node if OmegaConf.is_dict(node) else range(len(node))
    if where:
        yield where  # the whole mapping or list may be replaced too
    for key in keys:
        value = None if OmegaConf.is_missing(node, key) else OmegaConf.to_container(node, resolve=False)[key]
        path = f"{where}[{key}]" if isinstance(key, int) else f"{where}.{key}".lstrip(".")
        yield from leaves(node._get_node(key) if isinstance(value, dict | list) else value, path)


def changed(config: DictConfig, leaf: str, value: Any) -> DictConfig:
    """The config with another value at a leaf, as a YAML file would hold it."""
    tree = OmegaConf.to_container(config, resolve=False)
    node, parts = tree, re.findall(r"[^.\[\]]+", leaf)
    for part in parts[:-1]:
        node = node[int(part) if isinstance(node, list) else part]
    node[int(parts[-1]) if isinstance(node, list) else parts[-1]] = value
    result = OmegaConf.create(tree)
    OmegaConf.set_struct(result, True)
    return result


def names_the_key(message: str, leaf: str) -> bool:
    """Whether a message names the setting, or the group that it stands in as a whole."""
    return re.findall(r"[^.\[\]]+(?=(?:\[\d+\])*$)", leaf)[0] in message


def check_message(message: str | None, leaf: str) -> None:
    """None is a value that trained."""
    if message is None:
        return
    assert "\n" not in message and "Traceback" not in message and " object at 0x" not in message, message
    assert names_the_key(message, leaf), f"{leaf} is not named: {message}"
    assert len(message) < 1200, f"{len(message)} characters: {message}"


@st.composite
def group_choices(draw: st.DrawFn) -> list[str]:
    """A word for some of the groups, the data set and, now and then, MLflow."""
    system = draw(st.sampled_from(SYSTEMS))
    choices = {group: [word for word in words(group) if word not in TAUGHT] for group in (*GROUPS, "trainer")}
    drawn = {group: draw(st.none() | st.sampled_from(listed)) for group, listed in choices.items()}
    tracking = draw(st.sampled_from(["none"] * 9 + ["mlflow"]))
    typed = [f"{group}={word}" for group, word in drawn.items() if word is not None]
    return tiny(system, *typed, f"tracking={tracking}", data=draw(st.sampled_from(sorted(TREES))))


@short(400 if LONG else 8)
@given(typed=group_choices())
def test_any_choice_of_groups_trains(bench: Bench, typed: list[str]) -> None:
    assert bench.train(bench.composed(*typed)) is None


@pytest.mark.parametrize("experiment", EXPERIMENTS if LONG else list(EXPERIMENTS)[:3])
@pytest.mark.parametrize("data", TREES if LONG else ["folder"])
def test_recipes_train_on_any_data(bench: Bench, experiment: str, data: str) -> None:
    typed = tiny(EXPERIMENTS[experiment], data=data)[1:]  # without the model, which the recipe names
    assert bench.train(bench.composed(f"experiment={experiment}", *typed)) is None


@short(55)
@given(data=st.data())
def test_a_wrong_value_is_refused_by_its_name_or_trains(
    bench: Bench, configs: dict[str, DictConfig], data: st.DataObject
) -> None:
    config = configs[data.draw(st.sampled_from(SYSTEMS[:4]))]
    leaf = data.draw(st.sampled_from(list(leaves(config))))
    value = WRONG[data.draw(st.sampled_from(list(WRONG)))]
    check_message(bench.train(changed(config, leaf, value)), leaf)


@pytest.mark.skipif(not LONG, reason="hours: SEMISEG_FAULTS=long")
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_wrong_value_at_every_leaf(bench: Bench, configs: dict[str, DictConfig], system: str) -> None:
    failures = []
    for leaf in leaves(configs[system]):
        for kind, value in WRONG.items():
            try:
                check_message(bench.train(changed(configs[system], leaf, value)), leaf)
            except (Exception, GaveNoAnswer) as error:
                failures.append(f"{leaf} [{kind}]: {type(error).__name__}: {error}")
    assert not failures, "\n".join(failures)


def answer(bench: Bench, *typed: str) -> str | None:
    """The message of the real command, None where it trained. It says nothing else on standard error."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        status = bench.command(*typed)
    lines = [line for line in said.getvalue().split("\n") if line and "Warning" not in line]
    if status == 0:
        return None
    assert status == 1 and len(lines) == 1 and lines[0].startswith("semiseg: "), said.getvalue()
    return lines[0]


def check_typed(bench: Bench, system: str, leaf: str, value: str) -> None:
    """What is typed may also be refused as no override, which quotes it."""
    message = answer(bench, *tiny(system, f"{leaf}={value}"))
    if message is None or "is no override" in message:
        return
    check_message(message, leaf)


@short(10)
@given(data=st.data())
def test_a_wrong_value_typed_is_refused_by_its_name_or_trains(
    bench: Bench, configs: dict[str, DictConfig], data: st.DataObject
) -> None:
    system = data.draw(st.sampled_from(SYSTEMS[:4]))
    leaf = data.draw(st.sampled_from(typable(configs[system])))
    check_typed(bench, system, leaf, data.draw(st.sampled_from(TYPED)))


@pytest.mark.skipif(not LONG, reason="hours: SEMISEG_FAULTS=long")
@pytest.mark.parametrize("system", ["v2", "v3"])
def test_every_wrong_value_typed(bench: Bench, configs: dict[str, DictConfig], system: str) -> None:
    failures = []
    for leaf in typable(configs[system]):
        for value in TYPED:
            try:
                check_typed(bench, system, leaf, value)
            except (Exception, GaveNoAnswer) as error:
                failures.append(f"{leaf}={value}: {type(error).__name__}: {error}")
    assert not failures, "\n".join(failures)


def typable(config: DictConfig) -> list[str]:
    """The leaves that Hydra's grammar can name: no entries of lists."""
    return [leaf for leaf in leaves(config) if "[" not in leaf and "_target_" not in leaf]


def from_file(bench: Bench, content: bytes, *typed: str) -> str | None:
    """The answer to an experiment file of the user's own."""
    file = bench.path / "own" / "experiment" / "mine.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"# @package _global_\n" + content)
    return answer(bench, "--config-dir", "own", "experiment=mine", *typed)


@short(200 if LONG else 6)
@given(data=st.data())
def test_a_wrong_value_in_a_file_is_refused_by_its_name_or_trains(
    bench: Bench, configs: dict[str, DictConfig], data: st.DataObject
) -> None:
    system = data.draw(st.sampled_from(SYSTEMS[:4]))
    leaf = data.draw(st.sampled_from([each for each in typable(configs[system]) if "." in each]))
    value = WRONG[data.draw(st.sampled_from(list(WRONG)))]
    for part in reversed(leaf.split(".")):
        value = {part: value}
    typed = [each for each in tiny(system) if not each.startswith(f"{leaf}=")]
    message = from_file(bench, yaml.safe_dump(value, allow_unicode=True).encode(), *typed)
    check_message(message, leaf)


@pytest.mark.parametrize("kind", BROKEN_FILES if LONG else list(BROKEN_FILES)[::3])
def test_a_broken_file_is_refused(bench: Bench, kind: str) -> None:
    message = from_file(bench, BROKEN_FILES[kind], *(each for each in tiny("v3") if "max_" not in each))
    assert message is not None and "Traceback" not in message
