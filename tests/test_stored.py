"""What a stored run was started with, and what its config may build."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from semiseg.config import conf_dir
from semiseg.errors import ConfigError
from semiseg.losses import SegmentationLoss
from semiseg.overrides import override
from semiseg.stored import check_targets, named_in_recipes, with_stored

FILE = Path("run", ".hydra", "config.yaml")
OURS = "semiseg.losses.SegmentationLoss"


class Derived(SegmentationLoss):
    """A class of the user's own."""


def check(target: Any) -> None:
    check_targets({"loss": {"_target_": target}}, FILE)


def test_classes_of_the_project_pass_wherever_they_stand() -> None:
    check_targets({"a": {"_target_": OURS, "b": [{"_target_": OURS}], "c": {"_target_": OURS}}, "d": None}, FILE)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.Popen",
        "semiseg.run_folder.subprocess.Popen",  # reached through the package
        "semiseg.run_folder.RunLock.acquire",  # no class
        "semiseg.files.write_text",
        "collections.OrderedDict",  # a class, of others
        7,
    ],
)
def test_others_are_refused_with_file_and_key(target: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"config\.yaml: loss\._target_ is .*no class of semiseg.*--config-dir=FOLDER"
    ):
        check(target)


def test_targets_are_found_in_lists_and_below_other_nodes() -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml: model\.parts\[1\]\.inner\._target_ is 'os\.system'"):
        check_targets({"model": {"_target_": OURS, "parts": [1, {"inner": {"_target_": "os.system"}}]}}, FILE)


def test_what_would_be_resolved_later_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"loss\.x is .* plain values alone"):
        check_targets({"loss": {"_target_": OURS, "x": "${oc.create:{_target_:os.system}}"}}, FILE)


def test_a_module_is_not_imported_to_look_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostile_module.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"hostile_module\.Net"):
        check("hostile_module.Net")
    assert "hostile_module" not in sys.modules


def test_a_derived_class_that_the_program_imported_passes() -> None:
    check(f"{__name__}.Derived")


def test_a_class_that_a_recipe_in_config_dir_names_passes(tmp_path: Path) -> None:
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "own.yaml").write_text("_target_: own_module.LowEntropy # mine\n", encoding="utf-8")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("predict", return_hydra_config=True)
    try:
        OmegaConf.update(
            config,
            "hydra.runtime.config_sources",
            [{"path": str(path), "schema": "file", "provider": provider}
             for path, provider in ((tmp_path, "command-line"), (conf_dir(), "main"))],
            force_add=True,
        )  # fmt: skip
        HydraConfig.instance().set_config(config)
        assert named_in_recipes() == {"own_module.LowEntropy"}
        check("own_module.LowEntropy")
        with pytest.raises(ConfigError, match=r"no class of semiseg"):
            check("own_module.Other")
    finally:
        HydraConfig.instance().cfg = None
    assert named_in_recipes() == set()


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A run "mine" started with three overrides."""
    run = tmp_path / "out" / "semiseg" / "mine"
    (run / ".hydra").mkdir(parents=True)
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "latest_checkpoint.pth").touch()
    (run / ".hydra" / "overrides.yaml").write_text("- model=v1\n- trainer.max_steps=50\n- name=mine\n")
    return tmp_path / "out"


def test_resume_brings_back_what_the_run_was_started_with(stored: Path) -> None:
    typed = ["resume=true", "name=mine", f"output={stored}", "trainer.max_steps=80"]
    assert with_stored(typed) == ["model=v1", *typed]


@pytest.mark.parametrize("value", ["yes", "on", "1", "True", "'true'"])
def test_resume_in_other_words_brings_them_back_too(stored: Path, value: str) -> None:
    typed = [f"resume={value}", "name=mine", f"output={stored}"]
    assert with_stored(typed) == ["model=v1", "trainer.max_steps=50", *typed]


@pytest.mark.parametrize("value", ["no", "off", "0", "maybe"])
def test_what_is_not_true_brings_nothing_back(stored: Path, value: str) -> None:
    assert with_stored([f"resume={value}", "name=mine"]) == [f"resume={value}", "name=mine"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is missing"),
        (b"", "is damaged, it holds null"),
        (b"\x80\xff", "cannot be read"),
        (b"{x: 1}", "is damaged, it holds {'x': 1}"),
        (b"- [model=v1]\n- 3\n", "is damaged"),
        (b"[" * 5000, "cannot be read"),
        (b"- model=v1\n- [", "cannot be read"),
    ],
)
@pytest.mark.parametrize("by_folder", [False, True])
def test_stored_overrides_that_are_damaged_are_named(
    stored: Path, content: bytes | None, said: str, by_folder: bool
) -> None:
    run = stored / "semiseg" / "mine"
    file = run / ".hydra" / "overrides.yaml"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    where = [f"hydra.run.dir={run.as_posix()}"] if by_folder else ["name=mine", f"output={stored}"]
    with pytest.raises(ConfigError) as caught:
        with_stored(["resume=true", *where])
    text = str(caught.value)
    assert text.startswith(f"{file} {said}") and "one a line, such as '- model=v3'" in text and "\n" not in text


def test_a_run_of_the_default_settings_had_no_overrides(stored: Path) -> None:
    (stored / "semiseg" / "mine" / ".hydra" / "overrides.yaml").write_text("[]\n")
    typed = ["resume=true", "name=mine", f"output={stored}"]
    assert with_stored(typed) == typed


def test_stored_overrides_are_given_as_they_were_typed(stored: Path) -> None:
    (stored / "semiseg" / "mine" / ".hydra" / "overrides.yaml").write_text("- 'loss.x=${optim.lr}'\n- ~data.y\n")
    typed = ["resume=true", "name=mine", f"output={stored}"]
    assert with_stored(typed) == ["loss.x=${optim.lr}", "~data.y", *typed]


def test_a_job_of_a_sweep_is_given_by_its_folder(stored: Path) -> None:
    typed = ["resume=true", f"hydra.run.dir={(stored / 'semiseg' / 'mine').as_posix()}", "trainer.max_steps=80"]
    assert with_stored(typed) == ["model=v1", "name=mine", *typed]
    with pytest.raises(ConfigError, match=r"none holds no run\. Leave out resume=true"):
        with_stored(["resume=true", "hydra.run.dir=none"])


def test_a_sweep_looks_for_its_jobs_itself() -> None:
    assert with_stored(["-m", "resume=true", "seed=0,1"]) == ["-m", "resume=true", "seed=0,1"]


def test_without_resume_nothing_is_added(stored: Path) -> None:
    typed = ["name=mine", f"output={stored}", "resume=false"]
    assert with_stored(typed) == typed


def test_the_runs_there_are_are_named_as_they_are_typed(tmp_path: Path) -> None:
    checkpoints = tmp_path / "semiseg" / "it's me" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "latest_checkpoint.pth").touch()
    with pytest.raises(ConfigError) as caught:
        with_stored(["resume=true", f"output={tmp_path}"])
    assert override("name", "it's me") in str(caught.value)


@pytest.mark.parametrize("typed", [["resume=true"], ["resume=true", "name=others"]])
def test_resume_names_the_runs_there_are(stored: Path, typed: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"needs the name of a run in .*semiseg: name=mine$"):
        with_stored([*typed, f"output={stored}"])


def test_resume_where_there_are_no_runs_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"experiment_name= or output="):
        with_stored(["resume=true", "name=mine", f"output={tmp_path}"])
