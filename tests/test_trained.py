"""What `run=` names becomes a network that predicts as it did in its run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from semiseg.errors import CheckpointError, ConfigError
from semiseg.models import LightweightDSConv
from semiseg.models.pruned import source_of
from semiseg.pseudo_label.distillation import load_teacher
from semiseg.tensor_file import NO_RUN, write_tensors
from semiseg.trained import load_predictor, load_trained, path_of

CPU = torch.device("cpu")
CONFIG = {
    "model": {"name": "lightweight", "_target_": "semiseg.models.LightweightDSConv", "encoder_weights": "imagenet"},
    "trainer": {"channels_last": True},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of two classes, its weights random."""
    folder = tmp_path / "first"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / ".hydra").mkdir()
    OmegaConf.save(OmegaConf.create(CONFIG), folder / ".hydra" / "config.yaml")
    (folder / "summary.json").write_text(
        json.dumps({"classes": ["soil", "palm"], "colors": {"soil": [1, 2, 3], "palm": [4, 5, 6]}}), encoding="utf-8"
    )
    torch.save(LightweightDSConv(2).state_dict(), folder / "checkpoints" / "best_model.pth")
    return folder


def test_a_run_folder_and_its_weights_file_are_the_same_system(run: Path) -> None:
    images = torch.randint(0, 256, (2, 3, 33, 47), dtype=torch.uint8)
    whole = load_trained(run, CPU)
    by_file = load_trained(run / "checkpoints" / "best_model.pth", CPU)
    probabilities = whole.probabilities(images)
    assert probabilities.shape == (2, 2, 33, 47)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2, 33, 47))
    assert torch.equal(probabilities, by_file.probabilities(images))
    assert whole.classes.names == ("soil", "palm") and whole.classes.colors == ((1, 2, 3), (4, 5, 6))
    assert whole.name == "lightweight/first" and not whole.network.training


def test_the_score_of_the_best_weights_is_not_that_of_others(run: Path) -> None:
    summary = run / "summary.json"
    summary.write_text(
        json.dumps(json.loads(summary.read_text(encoding="utf-8")) | {"best_val_miou": 0.5}), encoding="utf-8"
    )
    final = run / "checkpoints" / "final_model.pth"
    torch.save(LightweightDSConv(2).state_dict(), final)
    for best in (run, run / "checkpoints" / "best_model.pth"):
        assert load_trained(best, CPU).summary["best_val_miou"] == 0.5
    assert "best_val_miou" not in load_trained(final, CPU).summary


def test_a_version_of_the_registry_is_the_folder_it_was_downloaded_to(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("semiseg.registry.fetch.fetch", lambda text: asked.append(text) or run)
    assert path_of("models:/soil/1") == path_of(Path("models:/soil@best")) == run
    assert asked == ["models:/soil/1", "models:/soil@best"]
    assert path_of(str(run)) == path_of(run) == run
    with pytest.raises(ConfigError, match="run=models:soil: give a registered model as run=models:/soil/1"):
        path_of("models:soil")
    assert load_trained("models:/soil/1", CPU).folder == load_predictor("models:/soil/1", CPU).folder == run


def test_the_average_of_the_weights_comes_first(run: Path) -> None:
    torch.save(LightweightDSConv(2).state_dict(), run / "checkpoints" / "best_model_ema.pth")
    assert load_trained(run, CPU).weights.name == "best_model_ema.pth"


@pytest.mark.parametrize(
    ("remove", "error", "said"),
    [
        (".hydra/config.yaml", ConfigError, "holds no run"),
        ("summary.json", ConfigError, "has not ended"),
        ("checkpoints/best_model.pth", CheckpointError, "no best weights"),
    ],
)
def test_what_is_missing_is_named(run: Path, remove: str, error: type[Exception], said: str) -> None:
    (run / remove).unlink()
    with pytest.raises(error, match=said):
        load_trained(run, CPU)


@pytest.mark.parametrize(("place", "typed"), [("", "."), ("checkpoints", "best_model.pth"), ("checkpoints", "..")])
def test_a_run_is_found_and_named_from_within(
    run: Path, monkeypatch: pytest.MonkeyPatch, place: str, typed: str
) -> None:
    monkeypatch.chdir(run / place)
    trained = load_trained(typed, CPU)
    assert trained.folder.name == run.name and trained.name.endswith(f"/{run.name}")


def test_what_cannot_be_used_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_trained(tmp_path / "none", CPU)
    loose = tmp_path / "weights.pth"
    loose.write_bytes(b"")
    with pytest.raises(ConfigError, match="in no run folder"):
        load_trained(loose, CPU)
    (run / "summary.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="older version"):
        load_trained(run, CPU)
    (run / "summary.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="damaged"):
        load_trained(run, CPU)
    (run / ".hydra" / "config.yaml").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_trained(run, CPU)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.onnx", r"run=.*model\.onnx is an ONNX file, .* Give the run folder\."),
        ("model.pt2", r"run=.*model\.pt2 is a torch\.export file, which is for programs without this project\."),
    ],
)
def test_exported_files_hold_no_weights_to_load(run: Path, name: str, said: str) -> None:
    file = run / "exported" / name
    file.parent.mkdir()
    file.write_bytes(b"PK")
    with pytest.raises(ConfigError, match=said):
        load_trained(file, CPU)
    with pytest.raises(ConfigError, match=rf"^pseudo_label\.teacher_run: {said}"):
        load_teacher(str(file), ("soil", "palm"))
    with pytest.raises(ConfigError, match=rf"^model\.{said}"):
        source_of(str(file), {})


def test_a_program_of_torch_export_is_no_predictor_with_any_backend(run: Path) -> None:
    file = run / "model.pt2"
    file.write_bytes(b"PK")
    for backend in ("auto", "torch", "onnx"):
        with pytest.raises(ConfigError, match=r"torch\.export file.*Give the run folder, or .*model\.onnx"):
            load_predictor(file, CPU, backend)


@pytest.mark.parametrize(
    "changes",
    [
        {"colors": []},
        {"classes": None},
        {"classes": []},
        {"classes": "ab"},
        {"colors": {"a": 1}},
        {"colors": {"palm": [4, 5, 6], "soil": [1, 2, 3]}},
        {"colors": {"soil": [1, 2, 3], "palm": [4, 5]}},
        {"colors": {"soil": [1, 2, 3], "palm": [4, 5, 256]}},
        {"colors": {"soil": [1, 2, 3], "palm": ["a", 5, 6]}},
    ],
)
def test_a_summary_of_no_classes_is_named(run: Path, changes: dict[str, Any]) -> None:
    file = run / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"summary\.json is damaged: "):
        load_trained(run, CPU)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: null\ndata: null\ntrainer: null", "it has no settings of model, trainer, data"),
        ("model: {name: x}", "it has no settings of trainer"),
        ("model: 3\ntrainer: [1]", "it has no settings of model, trainer"),
        ("model: ${nowhere}\ntrainer: {}", "cannot be read"),
        ("- 1", "it is a list"),
    ],
)
def test_a_config_without_its_groups_is_named(run: Path, text: str, said: str) -> None:
    (run / ".hydra" / "config.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"config\.yaml .*{said}"):
        load_trained(run, CPU)


def test_weights_that_another_run_sealed_are_refused(run: Path) -> None:
    file = run / "checkpoints" / "best_model.pth"
    for sealed, identity in (("a" * 32, "b" * 32), ("a" * 32, "a" * 32), (NO_RUN, "b" * 32), ("a" * 32, "")):
        with file.open("wb") as out:
            write_tensors(LightweightDSConv(2).state_dict(), out, sealed)
        (run / ".hydra" / "identity").write_text(identity + "\n", encoding="ascii")
        if (sealed, identity) != ("a" * 32, "b" * 32):
            load_trained(run, CPU)
            continue
        with pytest.raises(CheckpointError, match=r"best_model\.pth belongs to another run than .*first"):
            load_trained(run, CPU)


def test_a_stored_config_builds_the_projects_classes_alone(run: Path) -> None:
    OmegaConf.save(CONFIG | {"model": {"name": "x", "_target_": "shutil.rmtree"}}, run / ".hydra" / "config.yaml")
    with pytest.raises(ConfigError, match=r"config\.yaml: model\._target_ is 'shutil\.rmtree'.*--config-dir=FOLDER"):
        load_trained(run, CPU)
