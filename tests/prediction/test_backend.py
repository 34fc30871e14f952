"""`backend=`: what runs a system, and what is said where it cannot."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semiseg.cli import main
from semiseg.errors import ConfigError
from semiseg.evaluation import EvaluateConfig
from semiseg.export.graph import INPUT, OUTPUT
from semiseg.export.metadata import metadata_of
from semiseg.models.weights import read_state_dict
from semiseg.prediction.options import PredictConfig
from semiseg.trained import EXPORTED, Trained, load_predictor, load_trained

onnx = pytest.importorskip("onnx", reason='needs pip install -e ".[export]"')
pytest.importorskip("onnxruntime", reason='needs pip install -e ".[export]"')

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, trained_run: Path) -> Path:
    """A copy of the run with an ONNX file where `backend=onnx` looks for it: the softmax of the image's own bands."""
    folder = Path(shutil.copytree(trained_run, tmp_path_factory.mktemp("backend") / "first"))
    shape = ["batch", 3, "height", "width"]
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Cast", [INPUT], ["float"], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("Softmax", ["float"], [OUTPUT], axis=1),
        ],
        "bands",
        [onnx.helper.make_tensor_value_info(INPUT, onnx.TensorProto.UINT8, shape)],
        [onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, shape)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.helper.set_model_props(model, metadata_of(load_trained(folder, CPU), "fp32"))
    (folder / EXPORTED).parent.mkdir()
    (folder / EXPORTED).write_bytes(model.SerializeToString())
    return folder


def test_the_backend_decides_what_a_run_folder_is_run_by(exported: Path):
    for backend in ("auto", "torch"):
        assert isinstance(load_predictor(exported, CPU, backend), Trained)
    system = load_predictor(exported, CPU, "onnx")
    assert system.weights == exported / "exported" / "model.onnx"
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64), dtype=np.uint8))
    torch.testing.assert_close(system.probabilities(images), images.float().softmax(dim=1))


@pytest.mark.parametrize("backend", ["auto", "onnx"])
def test_an_onnx_file_is_run_as_it_is(exported: Path, backend: str):
    assert load_predictor(exported / EXPORTED, CPU, backend).weights == exported / EXPORTED


def test_torch_does_not_run_an_onnx_file(exported: Path):
    with pytest.raises(
        ConfigError, match=r"model\.onnx is an ONNX file, backend=torch runs weights\. Give a run folder"
    ):
        load_predictor(exported / EXPORTED, CPU, "torch")


def test_a_run_that_was_not_exported_names_the_command(trained_run: Path):
    with pytest.raises(ConfigError) as refused:
        load_predictor(trained_run, CPU, "onnx")
    assert str(refused.value).endswith(f"semiseg export run={trained_run.as_posix()}")


def test_the_command_can_be_pasted_whatever_the_path(trained_run: Path, tmp_path: Path):
    folder = shutil.copytree(trained_run, tmp_path / "my (first), run")
    with pytest.raises(ConfigError) as refused:
        load_predictor(folder, CPU, "onnx")
    words = shlex.split(str(refused.value).partition("Write it first: ")[2])
    assert words == ["semiseg", "export", f"run='{folder.as_posix()}'"]


def test_weights_and_folders_without_a_run_have_no_onnx_file(exported: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"best_model\.pth is a weights file.*Give a run folder"):
        load_predictor(exported / "checkpoints" / "best_model.pth", CPU, "onnx")
    with pytest.raises(ConfigError, match="does not exist"):
        load_predictor(tmp_path / "nowhere", CPU, "onnx")


def test_a_file_of_weights_that_the_run_has_no_more_is_refused(exported: Path, tmp_path: Path):
    trained_on = Path(shutil.copytree(exported, tmp_path / "first"))
    best = load_trained(trained_on, CPU).weights
    torch.save({key: value + 1 for key, value in read_state_dict(best).items()}, best)
    with pytest.raises(ConfigError, match="is not of the best weights that the run has now"):
        load_predictor(trained_on, CPU, "onnx")


def test_a_file_of_other_weights_than_the_best_is_refused_and_has_no_score(exported: Path, tmp_path: Path):
    folder = Path(shutil.copytree(exported, tmp_path / "first"))
    final = folder / "checkpoints" / "final_model.pth"
    torch.save({key: value + 1 for key, value in read_state_dict(load_trained(folder, CPU).weights).items()}, final)
    summary = folder / "summary.json"
    summary.write_text(
        json.dumps(json.loads(summary.read_text(encoding="utf-8")) | {"best_val_miou": 0.5}), encoding="utf-8"
    )
    rewrite(folder / EXPORTED, metadata_of(load_trained(folder, CPU), "fp32"))
    assert load_predictor(folder, CPU, "onnx").summary["best_val_miou"] == 0.5
    rewrite(folder / EXPORTED, metadata_of(load_trained(final, CPU), "fp32"))
    with pytest.raises(ConfigError, match="is not of the best weights that the run has now"):
        load_predictor(folder, CPU, "onnx")
    assert load_predictor(folder / EXPORTED, CPU).summary["best_val_miou"] is None


def test_a_file_that_does_not_say_of_what_weights_is_taken_by_its_name_alone(exported: Path, tmp_path: Path):
    folder = Path(shutil.copytree(exported, tmp_path / "first"))
    metadata = metadata_of(load_trained(folder, CPU), "fp32")
    del metadata["weights"]
    rewrite(folder / EXPORTED, metadata)
    with pytest.raises(ConfigError, match="is not of the best weights that the run has now"):
        load_predictor(folder, CPU, "onnx")
    assert load_predictor(folder / EXPORTED, CPU).weights == folder / EXPORTED


def rewrite(file: Path, metadata: dict[str, str]) -> None:
    """The same graph under other metadata."""
    model = onnx.load(file)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, file)


@pytest.mark.parametrize("config", [lambda word: PredictConfig("a", "b", backend=word),
                                    lambda word: EvaluateConfig("a", backend=word)])  # fmt: skip
def test_a_backend_that_there_is_not_names_those_there_are(config):
    with pytest.raises(ConfigError, match=r"backend is 'tensorrt'.*auto, torch, onnx"):
        config("tensorrt")


def test_the_verb_predicts_with_the_exported_file(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where a band is the highest, the stand-in says its class."""
    image = np.full((64, 64, 3), 50, dtype=np.uint8)
    image[:, :20, 1] = 200
    image[:, 20:, 2] = 200
    Image.fromarray(image).save(tmp_path / "a.png")
    places = [
        f"run={exported.as_posix()}",
        f"input={(tmp_path / 'a.png').as_posix()}",
        f"out={tmp_path.as_posix()}/out",
    ]
    monkeypatch.setattr(sys, "argv", sys.argv)
    with pytest.raises(SystemExit) as stop:
        main(["predict", *places, "backend=onnx"])
    assert stop.value.code == 0
    with Image.open(tmp_path / "out" / "classes" / "a.png") as classes:
        np.testing.assert_array_equal(np.asarray(classes), np.where(np.arange(64) < 20, 1, 2)[None].repeat(64, 0))
