from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from http.client import IncompleteRead
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import resnet18

from semiseg.errors import CheckpointError, ConfigError
from semiseg.models.resnet import build_resnet
from semiseg.models.weights import WeightsReport, load_encoder_weights, load_weights


def network() -> nn.Module:
    """Five tensors with a BatchNorm's buffers beside them, named "0.weight" ... "1.running_var"."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def filled(value: float = 0.5) -> dict[str, Tensor]:
    return {key: torch.full_like(tensor, value) for key, tensor in network().state_dict().items()}


def renamed(prefix: str) -> dict[str, Tensor]:
    return {prefix + key: tensor for key, tensor in filled().items()}


def assert_filled(module: nn.Module) -> None:
    assert all((tensor == 0.5).all() for tensor in module.parameters())


@pytest.mark.parametrize("spec", [None, "none"])
def test_no_weights_leaves_the_encoder_alone(spec: str | None):
    module = network()
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    assert load_encoder_weights(module, "resnet18", spec) is None
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    "content",
    [
        filled(),
        renamed("module."),
        renamed("encoder."),
        renamed("model.backbone."),
        renamed("_orig_mod.module."),
        {"state_dict": renamed("module."), "epoch": 3},
        {"model_state": filled(), "iteration": 100, "optimizer_state": {"lr": 0.1}},
        {"model": {**renamed("encoder."), "decoder.0.weight": torch.zeros(1)}},
    ],
    ids=["plain", "module", "encoder", "nested", "compiled", "state_dict", "model_state", "whole_model"],
)
def test_usual_forms_of_a_file_fit_whole(content: dict[str, object], tmp_path: Path):
    torch.save(content, tmp_path / "weights.pth")
    module = network()
    report = load_encoder_weights(module, "resnet18", str(tmp_path / "weights.pth"))
    assert report is not None and report.complete and report.matched == 7
    assert_filled(module)


def test_safetensors(tmp_path: Path):
    save_file(renamed("encoder."), tmp_path / "weights.safetensors")
    module = network()
    assert load_weights(module, tmp_path / "weights.safetensors").complete
    assert_filled(module)


def test_a_file_that_fits_in_part_is_used_and_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    content = filled() | {"0.weight": torch.zeros(8, 3, 3, 3), "fc.weight": torch.zeros(2)}
    del content["1.running_mean"], content["1.num_batches_tracked"]
    torch.save(content, tmp_path / "weights.pth")
    module = network()
    with caplog.at_level(logging.WARNING):
        report = load_encoder_weights(module, "resnet18", str(tmp_path / "weights.pth"))
    assert report == WeightsReport(
        matched=4,
        total=6,
        missing=["1.running_mean"],
        mismatched=["0.weight (8, 3, 3, 3) for (4, 3, 3, 3)"],
        unexpected=["fc.weight"],
    )
    expected = "4 of 6 tensors matched (1 missing: 1.running_mean; 1 of another shape: 0.weight (8, 3, 3, 3) for (4, 3,"
    assert expected in caplog.text
    assert (module.get_parameter("1.weight") == 0.5).all() and not (module.get_parameter("0.weight") == 0).any()


def test_complete_report_is_short():
    assert str(WeightsReport(318, 318)) == "318 of 318 tensors matched"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"0.weight": torch.zeros(9, 3, 3, 3)}, r"0\.weight \(9, 3, 3, 3\) for \(4, 3, 3, 3\)"),
        ({"0.weight": None}, "1 missing: 0.weight"),
        ({"2.weight": torch.zeros(2)}, "1 the model lacks: 2.weight"),
    ],
    ids=["shape", "missing", "surplus"],
)
def test_what_fits_in_part_is_refused(change: dict[str, Tensor | None], named: str, tmp_path: Path):
    content = {key: value for key, value in (filled() | change).items() if value is not None}
    torch.save(content, tmp_path / "weights.pth")
    module = network()
    before = module.get_parameter("1.weight").clone()
    with pytest.raises(CheckpointError, match=named):
        load_weights(module, tmp_path / "weights.pth")
    assert torch.equal(module.get_parameter("1.weight"), before)


def test_weights_of_another_model_name_keys_of_both_sides(tmp_path: Path):
    torch.save({"blocks.attention.qkv": torch.zeros(3)}, tmp_path / "weights.pth")
    for load in (
        lambda: load_weights(network(), tmp_path / "weights.pth"),
        lambda: load_encoder_weights(network(), "resnet18", str(tmp_path / "weights.pth")),
    ):
        with pytest.raises(CheckpointError, match=r"another model.*blocks\.attention\.qkv.*0\.weight"):
            load()


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_missing_and_damaged_files(name: str, tmp_path: Path):
    path = tmp_path / name
    with pytest.raises(CheckpointError, match=f"no weights file .*{name}"):
        load_weights(network(), path)
    with pytest.raises(CheckpointError, match=f"{name} is neither imagenet nor a file"):
        load_encoder_weights(network(), "resnet18", str(path))
    for damaged in (b"", b"hello world", b"<html>not found</html>"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=f"{name} cannot be read as weights"):
            load_weights(network(), path)


def test_truncated_file(tmp_path: Path):
    path = tmp_path / "weights.pth"
    torch.save(filled(), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="cut short"):
        load_weights(network(), path)


def test_pickled_code_is_neither_run_nor_recommended(tmp_path: Path):
    torch.save({"model": Path("x")}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="holds more than tensors") as caught:
        load_weights(network(), tmp_path / "weights.pth")
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("content", [{"iteration": 3}, [1, 2], {"model": {}}])
def test_file_without_tensors(content: object, tmp_path: Path):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="holds no tensors"):
        load_weights(network(), tmp_path / "weights.pth")


def hub(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], dict[str, Tensor]]) -> None:
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **_: answer(url))


def test_imagenet_takes_torchvisions_first_weights_whole(monkeypatch: pytest.MonkeyPatch):
    urls: list[str] = []
    donor = resnet18(weights=None)

    def answer(url: str) -> dict[str, Tensor]:
        urls.append(url)
        assert socket.getdefaulttimeout() is not None
        return donor.state_dict()

    hub(monkeypatch, answer)
    encoder = build_resnet("resnet18", output_stride=8)
    report = load_encoder_weights(encoder, "resnet18", "imagenet")
    assert report is not None and report.complete
    assert report.unexpected == ["fc.weight", "fc.bias"]
    assert torch.equal(encoder.layer4[1].conv2.weight, donor.layer4[1].conv2.weight)
    assert urls == ["https://download.pytorch.org/models/resnet18-f37072fd.pth"]
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize(
    "failure",
    [
        URLError("Name or service not known"),
        TimeoutError("timed out"),
        OSError("disk full"),
        IncompleteRead(b""),
        RuntimeError("invalid hash value"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_failed_download_names_the_other_ways(failure: Exception, monkeypatch: pytest.MonkeyPatch):
    def answer(url: str) -> dict[str, Tensor]:
        raise failure

    hub(monkeypatch, answer)
    with pytest.raises(CheckpointError) as caught:
        load_encoder_weights(network(), "resnet50", "imagenet")
    for text in ("resnet50", type(failure).__name__, "model.encoder_weights=PATH", "model.encoder_weights=null"):
        assert text in str(caught.value)
    assert socket.getdefaulttimeout() is None


def test_encoder_without_imagenet_weights():
    with pytest.raises(ConfigError, match=r"resnext101_32x48d.*model\.encoder_weights=PATH"):
        load_encoder_weights(network(), "resnext101_32x48d", "imagenet")
