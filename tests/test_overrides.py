"""What was typed, and what is wrong with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from semiseg.cli import run_name
from semiseg.config import conf_dir
from semiseg.errors import ConfigError
from semiseg.overrides import (
    check_files,
    check_flags,
    check_groups,
    check_names,
    check_sweeps,
    config_dirs,
    explain,
    flags_first,
    hydra_form,
    key_of,
    names_as_typed,
    without_config_dirs,
)


@pytest.fixture(autouse=True)
def clean_hydra():
    """Hydra keeps one state a process."""
    OmegaConf.register_new_resolver("run_name", run_name, use_cache=True, replace=True)
    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()


def explanation(*overrides: str) -> str:
    """What `explain` says about the error these overrides give."""
    with pytest.raises(Exception) as caught, initialize_config_dir(str(conf_dir()), version_base="1.3"):
        compose("train", overrides=list(overrides))
    return explain(caught.value, "train", list(overrides))


@pytest.mark.parametrize(
    ("override", "beginning"),
    [
        ("model=v33", "model=v33: there is no conf/model/v33.yaml. Did you mean v3? Valid: deeplabv2_r101_s4gan,"),
        ("pseudo_label=softmx", "pseudo_label=softmx: there is no conf/pseudo_label/softmx.yaml. Did you mean softmax"),
        ("experiment=v31", "experiment=v31: there is no conf/experiment/v31.yaml. Did you mean v3_1?"),
        ("modle=v3", "modle: there is no group or key 'modle'. Did you mean model?"),
        ("trainr.max_steps=3", "trainr.max_steps: there is no group or key 'trainr'. Did you mean trainer"),
        ("trainer.max_step=3", "trainer.max_step: trainer has no key 'max_step'. Did you mean max_steps"),
        ("model.recipe.ema=0.9", "model.recipe.ema: model.recipe has no key 'ema'. Did you mean ema_decay?"),
        ("foo", "'foo' is no override; write KEY=VALUE"),
        ("name=[1", "'name=[1' is no override; write KEY=VALUE"),
        ("sweep=ladder", "sweep is no part of a run by itself: it is added with a plus, +sweep=WORD. Valid: ladder"),
        ("+sweep=laddr", "sweep=laddr: there is no conf/sweep/laddr.yaml. Did you mean ladder?"),
        ("hydra/launcher=submitit_x", "hydra/launcher=submitit_x needs hydra-submitit-launcher: pip install"),
        ("hydra.launcher.n_job=2", "hydra.launcher.n_job: hydra.launcher has no key 'n_job'. Did you mean n_jobs?"),
        ("model=v1,v2", "Ambiguous value for argument 'model=v1,v2'. Add -m to run each value"),
    ],
)
def test_mistake_is_explained_with_the_nearest_names(override: str, beginning: str) -> None:
    assert explanation(override).startswith(beginning)


def test_valid_keys_are_those_to_set() -> None:
    assert "_target_" not in explanation("pseudo_label.thresold=1")
    keys = explanation("model.num_head=1").split("Valid: ")[1].rstrip(".").split(", ")
    assert "num_heads" in keys and not {"_target_", "name", "recipe"} & set(keys)


@pytest.mark.parametrize("value", ["[0.5,0.6]", "{road: 0.5}"])
def test_thresholds_of_the_data_set_are_given_to_the_pseudo_labeler(value: str) -> None:
    text = explanation(f"data.class_thresholds={value}")
    assert "Give class thresholds with pseudo_label.class_thresholds=" in text


@pytest.mark.parametrize("value", ["a/b", "..", "", "a\\b", '"a/b"', "null"])
@pytest.mark.parametrize("key", ["name", "experiment_name"])
def test_a_name_is_one_folder(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}=.*one folder name.*output=PATH"):
        check_names([f"{key}={value}"])


@pytest.mark.parametrize("value", ["", "''", '""', '" "'])
def test_an_output_is_a_folder(value: str) -> None:
    with pytest.raises(ConfigError, match="output is empty: give a folder"):
        check_names([f"output={value}"])


@pytest.mark.parametrize("key", ["run", "runs", "data.root", "+data.val_list", "seed"])
def test_a_value_that_is_left_out_is_not_the_folder_one_is_in(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{re.escape(key)}= is empty. Give a value, or leave it out"):
        check_names([f"{key}="])


def test_names_of_one_folder_pass() -> None:
    check_names(["name=first", "experiment_name=a b", "name=v3-1.5", "output=a/b", "model.name=x"])


def test_a_word_for_a_sweep_needs_the_flag_and_stands_alone() -> None:
    for typed in (["+sweep=ladder", "-m"], ["--multirun", "+sweep=[seeds,ladder]"], ["sweep.x=1"], ["model=a,b"]):
        check_sweeps(typed)
    with pytest.raises(ConfigError, match="--cfg shows the configuration of one run"):
        check_sweeps(["-m", "+sweep=ladder", "--cfg", "job"])
    with pytest.raises(ConfigError, match=r"^\+sweep=ladder starts several runs: add -m\.$"):
        check_sweeps(["+sweep=ladder"])
    with pytest.raises(ConfigError, match=r"\+sweep=\[seeds,ladder\]"):
        check_sweeps(["-m", "+sweep=seeds,ladder"])


@pytest.mark.parametrize(
    "value", ["runs/a-1", "D:/a", "my runs/a", 'a"b', "a=b,c", "wörter", "2024", "2024_01_15", "1.50", "1e3", "true"]
)
def test_a_value_in_hydras_form_is_read_back(value: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_override(hydra_form("hydra.run.dir", value))
    assert (parsed.key_or_group, str(parsed.value())) == ("hydra.run.dir", value)


def test_names_are_kept_as_they_were_typed() -> None:
    plain = ["name=oil-palm", "experiment_name=2024", "seed=1_000", "name=null", "name=${x}", 'name="1.50"', "-m"]
    assert names_as_typed(plain) == plain
    assert names_as_typed(["name=2024_01_15", "experiment_name=1.50"]) == [
        "name='2024_01_15'", "experiment_name='1.50'"
    ]  # fmt: skip


def test_valid_keys_are_those_of_the_chosen_words() -> None:
    assert "gate_dropout" in explanation("model=v1", "pseudo_label.gate_droput=true")
    assert "gate_dropout" not in explanation("model=v3", "pseudo_label.gate_droput=true")


@pytest.mark.parametrize("override", ["trainer=null", "loss=", "model=3", "tracking=false"])
def test_a_group_takes_a_word(override: str) -> None:
    group = override.split("=")[0]
    with pytest.raises(ConfigError, match=rf"^{override}: {group} takes one of the words"):
        check_groups([override])


def test_other_nulls_and_numbers_are_left_alone() -> None:
    check_groups(["restore_from=null", "seed=3", "trainer.max_epochs=null", "model=v3", "loss.class_weights=null"])


@pytest.mark.parametrize("override", ["a.b=1", "+a.b=1", "++a.b=c=d", "~a.b"])
def test_key_of_an_override(override: str) -> None:
    assert key_of(override) == "a.b"


def test_a_command_without_arguments_reads_the_projects_recipes() -> None:
    assert config_dirs([]) == [conf_dir()]


@pytest.mark.parametrize("typed", ["restore_from=", "restore_from=''", '+restore_from=""'])
def test_an_empty_file_to_start_from_is_told(typed: str) -> None:
    with pytest.raises(ConfigError, match=r"restore_from= is empty: give a checkpoint"):
        check_files([typed])


def test_a_file_to_start_from_is_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^restore_from=.* is a folder: give a file"):
        check_files([f"restore_from={tmp_path}"])
    (tmp_path / "a.pth").touch()
    check_files([f"restore_from={tmp_path / 'a.pth'}", "restore_from=absent.pth", f"restore_from={'x' * 5000}"])
    check_files(["restore_from=null", "~restore_from", "-m", "restore_from=a,b"])


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a device file")
def test_a_device_is_no_file_to_start_from() -> None:
    with pytest.raises(ConfigError, match=r"^restore_from=/dev/zero is no regular file"):
        check_files(["restore_from=/dev/zero"])


def test_options_stand_in_front_wherever_they_were_typed() -> None:
    typed = ["a=1", "-m", "--config-dir", "x", "b=2", "-cd=y", "--cfg", "job"]
    assert flags_first(typed) == ["-m", "--config-dir=x", "--config-dir=y", "a=1", "b=2", "--cfg", "job"]


@pytest.mark.parametrize("flag", ["--resume", "--batch-size=16", "--labeled-ratio"])
def test_a_flag_of_the_earlier_scripts_is_told_where_its_override_is(flag: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{flag.partition('=')[0]} is no option: .*KEY=VALUE.*docs/flags\.md"):
        check_flags(["a=1", flag])


def test_folders_of_recipes_are_no_overrides() -> None:
    assert without_config_dirs(["a=1", "--config-dir=x", "-cd", "y", "--config-dir", "z", "b=2"]) == ["a=1", "b=2"]
