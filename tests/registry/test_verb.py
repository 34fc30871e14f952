"""`semiseg register`, and `run=models:/...` afterwards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.evaluation.conftest import run_verb
from tests.registry.conftest import write_run

from semiseg.errors import CheckpointError, ConfigError, SemisegError
from semiseg.registry import set_variable
from semiseg.tracking.naming import store_uri
from semiseg.tracking.state import TrackingState
from semiseg.trained import load_trained, path_of

CPU = torch.device("cpu")


def test_the_version_belongs_to_the_runs_own_mlflow_run_which_stays_as_it_ended(here: Path, client: Any) -> None:
    version = client.get_model_version("landcover", "1")
    state = TrackingState.read(here / "runs" / "semiseg" / "first")
    assert state is not None
    (stored,) = state.stores.values()
    run = client.get_run(version.run_id)
    assert version.run_id == stored.run_id
    assert (run.info.status, run.info.end_time) == ("KILLED", state.ended)
    assert version.tags["best_val_miou"] == "0.5" and version.tags["run"] == "first"
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert model.source_run_id == run.info.run_id and model.status == "READY"
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "landcover", "version": 1}]


def test_the_artifact_describes_its_input_and_holds_an_example_and_no_pickle(artifacts: Callable[[str], Path]) -> None:
    folder = artifacts("landcover")
    assert (folder / "artifacts" / "run" / "checkpoints" / "best_model.pth").is_file()
    assert (folder / "code" / "semiseg" / "trained.py").is_file() and not list(folder.rglob("__pycache__"))
    assert not list(folder.rglob("*.pkl"))
    text = (folder / "MLmodel").read_text(encoding="utf-8")
    assert '"name": "image"' in text and "confidence" in text
    example = json.loads((folder / "serving_input_example.json").read_text(encoding="utf-8"))
    assert example["dataframe_split"]["columns"] == ["image"]
    needs = (folder / "requirements.txt").read_text(encoding="utf-8")
    assert "torch==" in needs and "+" not in needs and "semiseg" not in needs


@pytest.mark.parametrize("reference", ["models:/landcover/1", "models:/landcover@champion"])
def test_a_version_predicts_bit_by_bit_as_its_run(here: Path, picture: np.ndarray, reference: str) -> None:
    images = torch.from_numpy(picture).permute(2, 0, 1)[None]
    own, registered = load_trained("runs/semiseg/first", CPU), load_trained(reference, CPU)
    assert torch.equal(own.probabilities(images), registered.probabilities(images))
    assert registered.classes == own.classes and registered.name == "lightweight/landcover-1"
    assert registered.folder != own.folder and registered.folder.is_relative_to("runs/cache")


def test_it_is_downloaded_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = path_of("models:/landcover/1")
    monkeypatch.setattr("semiseg.registry.fetch._download", lambda *_: pytest.fail("downloaded again"))
    assert path_of(Path("models:/landcover/1")) == first


def test_other_verbs_take_it(here: Path, tmp_path: Path) -> None:
    assert run_verb("history", "run=models:/landcover@champion", f"out={tmp_path.as_posix()}") == 0
    assert (tmp_path / "history.png").is_file()


def test_the_figure_of_a_registered_run_is_not_left_in_the_cache(here: Path) -> None:
    assert run_verb("history", "run=models:/landcover/1") == 0
    assert (here / "history.png").is_file() and not list((here / "runs" / "cache").rglob("history.png"))


@pytest.mark.parametrize(
    ("windows", "line"),
    [
        (False, "export MLFLOW_TRACKING_URI='sqlite:////work place/mlflow.db'"),
        (True, 'set "MLFLOW_TRACKING_URI=sqlite:////work place/mlflow.db"'),
    ],
)
def test_the_store_is_a_line_to_paste(windows: bool, line: str) -> None:
    assert set_variable("MLFLOW_TRACKING_URI", "sqlite:////work place/mlflow.db", windows).startswith(line)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("models:/landcver/1", "has no model landcver. Did you mean landcover?"),
        ("models:/landcover/99", r"landcover has no such version. Versions: 1.*@champion is 1"),
        ("models:/landcover@best", "no such version"),
        ("models:/landcover", "write models:/NAME/3"),
        ("models:/landcover/Production", "write models:/NAME/3"),
        ("models:/a' OR 1/1", "write models:/NAME/3"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(here: Path, reference: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_trained(reference, CPU)


def test_a_missing_store_is_not_made(tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no model registry .*mlflow.db.*MLFLOW_TRACKING_URI"):
        load_trained("models:/landcover/1", CPU)
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_away_is_one_message(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    with pytest.raises(SemisegError, match=r"nothing answers there\. Start it") as refused:
        load_trained("models:/landcover/1", CPU)
    assert "secret" not in str(refused.value)


def test_an_untracked_run_gets_a_run_and_a_damaged_artifact_is_refused(
    here: Path, client: Any, artifacts: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "second", seed=1)
    assert run_verb("register", f"run={folder.as_posix()}", "name=untracked.v2") == 0
    said = capsys.readouterr().out
    assert "run=models:/untracked.v2/1" in said and "mlflow models serve -m models:/untracked.v2/1" in said
    assert f"MLFLOW_TRACKING_URI={store_uri(None, here / 'runs')}" in said.replace("'", "")
    version = client.get_model_version("untracked.v2", "1")
    assert client.get_run(version.run_id).info.status == "FINISHED"
    store = artifacts("untracked.v2") / "artifacts" / "run"
    weights = store / "checkpoints" / "best_model.pth"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="not those that were registered"):
        load_trained("models:/untracked.v2/latest", CPU)
    weights.unlink()
    with pytest.raises(CheckpointError, match="holds no run"):
        load_trained("models:/untracked.v2/latest", CPU)
    shutil.rmtree(store)
    with pytest.raises(CheckpointError, match=r"cannot be had: .* register the run again"):
        load_trained("models:/untracked.v2/latest", CPU)
    assert not list((here / "runs" / "cache" / "registered").rglob("*untracked*"))


def test_a_cache_that_cannot_be_written_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = here / "full"
    place.write_text("", encoding="utf-8")
    monkeypatch.setattr("semiseg.registry.fetch.CACHE", place)
    with pytest.raises(SemisegError, match=r"full.*, where registered models are kept, cannot be written \("):
        load_trained("models:/landcover/1", CPU)


def test_a_version_holds_the_best_weights_alone(
    here: Path, client: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "third", seed=2)
    final = folder / "checkpoints" / "final_model.pth"
    shutil.copyfile(folder / "checkpoints" / "best_model.pth", final)
    assert run_verb("register", f"run={final.as_posix()}", "name=final") == 1
    printed = capsys.readouterr().err
    assert "final_model.pth is not the best weights of its run" in printed and f"run={folder}" in printed
    assert "final" not in {model.name for model in client.search_registered_models()}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["name=a@b"], "name=a@b: give a name without"),
        (["name=x", "alias=3"], "alias=3"),
        (["name=x", "alias=V1"], "alias=V1: give a word"),
        (["name=x", "tracking.uri=nowhere"], "tracking.uri=nowhere"),
        (["name=x", "run=none"], "run=none does not exist"),
        (["name=x", "tracking.uri=http://127.0.0.1:9"], "nothing answers there"),
        ([], "No value for name"),
    ],
)
def test_a_mistake_is_one_message_and_registers_nothing(
    here: Path, client: Any, capsys: pytest.CaptureFixture[str], overrides: list[str], said: str
) -> None:
    before = {model.name for model in client.search_registered_models()}
    assert run_verb("register", "run=runs/semiseg/first", *overrides) == 1
    printed = capsys.readouterr()
    assert said in printed.err and printed.err.count("\n") == 1 and "Traceback" not in printed.err
    assert {model.name for model in client.search_registered_models()} == before
