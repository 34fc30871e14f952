"""A run trained again from its stored config, and the difference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from semiseg.differences import reproduction_rows
from semiseg.errors import ConfigError
from semiseg.files import append_text
from semiseg.reproduce import Original, moved, with_original

GROUPS = ("model", "data", "trainer", "loss", "pseudo_label", "aug", "optim", "tracking")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run called "first"."""
    folder = tmp_path / "runs" / "trees" / "first"
    config = {group: {} for group in GROUPS} | {"experiment_name": "trees", "output": "runs", "name": "first"}
    config["data"] = {"root": "/data", "labeled_list": "/data/few.txt", "val_list": "/elsewhere/val.txt"}
    config["tracking"] = {"root": "runs"}
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(config), folder / ".hydra" / "config.yaml")
    return folder


def typed(run: Path, **changes: object) -> OmegaConf:
    outside = {
        "name": "first-again",
        "experiment_name": "trees",
        "output": "new",
        "resume": False,
        "reproduce": str(run),
    }
    groups = {"data": {"root": "moved"}, "tracking": {"_target_": "x"}, "model": {"name": "v3"}}
    return OmegaConf.create(outside | groups | changes)


def test_new_run_gets_a_place_of_its_own_beside_the_old(run: Path) -> None:
    assert with_original([f"reproduce={run}"])[1:] == [
        "name='${run_name:first-again}'", "experiment_name=trees", "output=runs"
    ]  # fmt: skip
    given = [f"reproduce={run}", "name=mine", "output=/x", "tracking=none", "tracking.uri=y", "data.root=z"]
    assert with_original(given) == [*given, "experiment_name=trees"]


@pytest.mark.parametrize("overrides", [["model=v1"], ["reproduce=null", "seed=1"], []])
def test_other_commands_are_left_alone(overrides: list[str]) -> None:
    assert with_original(overrides) == overrides


def test_an_empty_folder_is_told(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run)  # an empty path is the working directory
    for empty in ("reproduce=", "reproduce=''"):
        with pytest.raises(ConfigError, match=r"^reproduce= is empty: give the folder of a run"):
            with_original([empty])


def test_recipes_of_ones_own_go_with_it(run: Path) -> None:
    assert with_original(["--config-dir", "recipes", "-cd=more", f"reproduce={run}"])[:3] == [
        "--config-dir", "recipes", "-cd=more"
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["tracking", "data.layout", "pseudo_label.st_loss"])
def test_stored_config_builds_the_projects_classes_alone(run: Path, key: str) -> None:
    file = run / ".hydra" / "config.yaml"
    config = OmegaConf.load(file)
    OmegaConf.update(config, key, {"_target_": "shutil.rmtree", "path": str(run)}, force_add=True)
    OmegaConf.save(config, file)
    with pytest.raises(ConfigError, match=rf"config\.yaml: {key}\._target_ is 'shutil\.rmtree'"):
        Original(run)


@pytest.mark.parametrize("other", ["seed=1", "-m", "trainer.max_steps=9", "+sweep=seeds", "--cfg", "data=dubai"])
def test_what_would_make_it_another_run_is_refused(run: Path, other: str) -> None:
    with pytest.raises(ConfigError, match=r"as it was: leave out .*Only name="):
        with_original([f"reproduce={run}", other])


def test_run_that_is_not_there_is_told_with_those_that_are(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such folder\. Did you mean first\?"):
        with_original([f"reproduce={run.parent / 'frist'}"])
    with pytest.raises(ConfigError, match=r"Give the folder of a run"):
        with_original(["reproduce=nowhere/at/all"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "holds no .hydra/config.yaml"),
        ("a: [", "cannot be read"),
        ("a: 1", "lacks model, data"),
        ("- 1", "it is a list"),
    ],
)
def test_run_without_a_usable_config_is_refused(run: Path, text: str | None, message: str) -> None:
    file = run / ".hydra" / "config.yaml"
    file.unlink()
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        Original(run)
    assert "\n" not in str(caught.value)


def test_stored_config_is_trained_in_the_new_place(run: Path) -> None:
    config = Original(run).config_for(typed(run), [f"reproduce={run}", "output=new"])
    assert (config.name, config.output, config.reproduce) == ("first-again", "new", str(run))
    assert config.tracking.root == "new"
    assert config.data.root == "/data" and config.model == {}


def test_typed_tracking_and_data_root_replace_the_stored(run: Path) -> None:
    config = Original(run).config_for(typed(run), ["tracking=none", "data.root=moved"])
    assert config.tracking == {"_target_": "x"}
    assert config.data == {"root": "moved", "labeled_list": "moved/few.txt", "val_list": "/elsewhere/val.txt"}


def test_runs_that_it_was_made_from_may_have_moved(run: Path) -> None:
    file = run / ".hydra" / "config.yaml"
    stored = OmegaConf.load(file)
    stored.model, stored.pseudo_label = {"run": "/gone/source"}, {"teacher_run": "/gone/teacher"}
    OmegaConf.save(stored, file)
    given = [f"reproduce={run}", "pseudo_label.teacher_run=/new/teacher", "+model.run=/new/source"]
    overrides = with_original(given)[:3]
    assert overrides[1:] == ["++pseudo_label.teacher_run=/new/teacher", "++model.run=/new/source"]
    new = typed(run, model={"run": "/new/source"}, pseudo_label={"teacher_run": "/new/teacher"})
    config = Original(run).config_for(new, overrides)
    assert (config.model.run, config.pseudo_label.teacher_run) == ("/new/source", "/new/teacher")


def test_lists_outside_the_root_stay_where_they_are() -> None:
    data = OmegaConf.create({"root": "data", "class_mapping": None, "labeled_list": "database/x.txt", "val_list": None})
    assert moved(data, "new").labeled_list == "database/x.txt"


def test_other_data_is_refused_before_training(run: Path) -> None:
    (run / "summary.json").write_text(json.dumps({"data_fingerprint": "aaaa", "choices": {"model": "v3"}}))
    original = Original(run)
    assert original.choices == {"model": "v3"}
    original.check_data("aaaa", "/data")
    with pytest.raises(ConfigError, match=r"/data is no longer that of the run \(fingerprint bbbb, was aaaa\)"):
        original.check_data("bbbb", "/data")


def test_table_tells_scores_losses_and_what_explains_them(run: Path) -> None:
    append_text(run / "metrics.jsonl", '{"step": 1, "time": 0, "loss/total": 1.0}\n')
    new = run.parent / "new"
    new.mkdir()
    append_text(new / "metrics.jsonl", '{"step": 1, "time": 0, "loss/total": 1.5}\n')
    (run / "summary.json").write_text(json.dumps({"best_val_miou": 0.5, "final_val_miou": 0.5, "hardware": "old"}))
    summary = {"best_val_miou": 0.504, "final_val_miou": 0.5, "hardware": "new"}
    rows = reproduction_rows(Original(run).compare(new, summary))
    assert rows["Reproduction"] == f"within 0.004 (of {run})"
    assert rows["  best val mIoU"] == "0.5040, was 0.5000: off by up to 0.004"
    assert rows["  loss/total"] == "off by up to 0.5, first at step 1"
    assert rows["  hardware"] == "new, was old"
    assert "deterministic=false" in rows["  Note"]
    assert reproduction_rows(None) == {}
