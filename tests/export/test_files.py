"""Every file predicts what the network does, says what it is, and is written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from semiseg.data.batches import IMAGENET_MEAN, IMAGENET_STD
from semiseg.errors import CheckpointError, ConfigError
from semiseg.export.check import TOLERANCE, Agreement, check, compare
from semiseg.export.files import Exporter, check_folder, remove_stale
from semiseg.export.graph import trace
from semiseg.export.onnx_model import load_onnx
from semiseg.models import LightweightDSConv
from semiseg.prediction.record import fingerprint
from semiseg.trained import Trained

SHAPES = [(1, 3, 40, 48), (3, 3, 33, 71), (2, 3, 96, 64)]


def bytes_of(shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8))


def largest(trained: Trained, found: np.ndarray, images: Tensor) -> float:
    return float(np.abs(found - trained.probabilities(images).numpy()).max())


@pytest.mark.parametrize("shape", SHAPES)
def test_onnx_runtime_alone_gives_the_probabilities_of_the_network(
    exported: Path, trained: Trained, shape: tuple[int, ...]
) -> None:
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    images = bytes_of(shape)
    (found,) = session.run(None, {"image": images.numpy()})
    assert found.dtype == np.float32 and found.shape == (shape[0], 3, *shape[2:])
    assert largest(trained, found, images) < TOLERANCE
    assert np.allclose(found.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_torch_export_gives_the_probabilities_of_the_network(
    exported: Path, trained: Trained, shape: tuple[int, ...]
) -> None:
    extra = {"classes": "", "git_commit": ""}
    program = torch.export.load(exported / "model.pt2", extra_files=extra)
    images = bytes_of(shape)
    assert largest(trained, program.module()(images).numpy(), images) < TOLERANCE
    assert json.loads(extra["classes"]) == list(trained.classes.names) and extra["git_commit"] in ("abc123", b"abc123")


def test_int8_is_close_and_its_first_convolution_and_the_last_of_each_head_stay_float(
    exported: Path, trained: Trained, images: list[Tensor]
) -> None:
    agreement = compare(trained, load_onnx(exported / "model.int8.onnx"), [torch.stack(images)])
    assert 0 < agreement.largest_difference < 0.1 and agreement.same_class > 0.9
    graph = onnx.load(exported / "model.int8.onnx").graph
    weights = [each for each in graph.initializer if len(each.dims) == 4]
    inner = [each for each in weights if each.data_type == onnx.TensorProto.INT8]
    assert [list(each.dims) for each in inner] == [[8, 8, 3, 3]]
    heads = [[3, 8, 1, 1]] * 2
    assert sorted(list(each.dims) for each in weights if each not in inner) == [*heads, [8, 3, 3, 3]]
    assert all(np.abs(onnx.numpy_helper.to_array(each)).max() <= 64 for each in inner)  # seven bits


def test_metadata_need_no_run(exported: Path, trained: Trained) -> None:
    found = {each.key: each.value for each in onnx.load(exported / "model.onnx").metadata_props}
    assert json.loads(found["classes"]) == list(trained.classes.names)
    assert json.loads(found["colors"]) == [list(color) for color in trained.classes.colors]
    assert json.loads(found["mean"]) == list(IMAGENET_MEAN) and json.loads(found["std"]) == list(IMAGENET_STD)
    assert (found["model"], found["git_commit"], found["data_fingerprint"]) == ("tiny", "abc123", "0123456789abcdef")
    model = load_onnx(exported / "model.int8.onnx")
    assert model.classes == trained.classes and model.metadata.precision == "int8"
    assert model.config.data == trained.config.data and model.summary["best_val_miou"] == 0.5
    assert model.name == "tiny/first (ONNX int8)" and model.metadata.weights == fingerprint(trained.weights)


def test_files_name_no_source_code(exported: Path) -> None:
    place = Path(torch.__file__).parents[1].as_posix().encode()
    for name in ("model.onnx", "model.int8.onnx", "model.pt2"):
        assert place not in (exported / name).read_bytes()
    model = onnx.load(exported / "model.onnx")
    assert not any(len(node.metadata_props) for node in model.graph.node)


def test_the_trained_network_is_left_as_it_was(trained: Trained) -> None:
    network = trained.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    trace(network)
    assert network.encoder.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_file_that_differs_is_not_written(
    trained: Trained, images: list[Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semiseg.export.files.compare", lambda *_: Agreement(2e-3, 1.0, []))
    with pytest.raises(CheckpointError, match=r"was not written: .* differ from the network's by 0\.002"):
        Exporter(trained, tmp_path, [torch.stack(images)], images).export(["torch_export"])
    assert not list(tmp_path.iterdir())
    with pytest.raises(CheckpointError):
        check(tmp_path, Agreement(float("nan"), 1.0, []))


def test_a_nan_of_any_batch_is_seen(trained: Trained, images: list[Tensor]) -> None:
    class Broken:
        classes, left = trained.classes, [1.0, float("nan"), 1.0]

        def probabilities(self, images: Tensor) -> Tensor:
            return trained.probabilities(images) * self.left.pop()

    assert np.isnan(compare(trained, Broken(), [torch.stack(images)] * 3).largest_difference)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"out=.*file cannot be written"):
        check_folder(tmp_path / "file")
    check_folder(tmp_path / "new" / "folder")
    assert not list((tmp_path / "new" / "folder").iterdir())


def test_files_of_other_weights_that_were_not_written_now_are_removed(tmp_path: Path) -> None:
    now, old, other = (tmp_path / name for name in ("model.onnx", "model.int8.onnx", "notes.onnx"))
    for path in (now, old, other):
        path.write_bytes(b"")
    assert remove_stale(tmp_path, "aa", [now]) == []  # nothing says of what weights they are
    results = tmp_path / "export.json"
    results.write_text('{"weights_fingerprint": "aa"}', encoding="utf-8")
    assert remove_stale(tmp_path, "aa", [now]) == []
    results.write_text('{"weights_fingerprint": "bb"}', encoding="utf-8")
    assert remove_stale(tmp_path, "aa", [now]) == [old] and not old.exists()
    assert now.exists() and other.exists() and results.exists()


def test_the_lightweight_network_in_onnx_and_int8(trained: Trained, images: list[Tensor], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = LightweightDSConv(3)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 64, 64))
    real = Trained(
        network.eval().requires_grad_(False), trained.classes, trained.config, trained.summary, tmp_path,
        tmp_path / "weights.pth", trained.device,
    )  # fmt: skip
    batches = [torch.stack(images[:1]), bytes_of((3, 3, 65, 33))]
    fp32, int8 = Exporter(real, tmp_path, batches, images[:2]).export(["onnx", "int8"])
    assert fp32.agreement and fp32.agreement.largest_difference < TOLERANCE
    assert int8.agreement and int8.agreement.largest_difference < 0.3
    assert 3.5 < fp32.path.stat().st_size / int8.path.stat().st_size < 4
    weights = sum(parameter.numel() for parameter in network.parameters())
    assert 4 * weights < fp32.path.stat().st_size < 4.2 * weights
