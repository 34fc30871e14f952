"""A pruned network: how much is gone, that it still trains, and that its weights alone say its widths."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from semiseg.config import build
from semiseg.engine.checkpoint import restore
from semiseg.errors import CheckpointError, ConfigError
from semiseg.methods import Ema
from semiseg.models import Pruned, SegmentationModel, load_weights
from semiseg.models.pruned import check_start
from semiseg.models.pruning import cut_channels, parameter_count

LIGHTWEIGHT = {"_target_": "semiseg.models.LightweightDSConv", "aspp_channels": 32}
HEADS = {"_target_": "semiseg.models.MultiHeadDeepLabV3Plus", "encoder": "resnet18", "decoder_channels": 32}
DEEPLAB = {"_target_": "semiseg.models.DeepLabV2", "encoder": "resnet18", "freeze_bn_affine": True}
CLASSES = ("soil", "palm", "road")


def write_run(folder: Path, node: Mapping[str, Any], classes: tuple[str, ...] = CLASSES) -> Path:
    """A finished run with random weights and statistics."""
    torch.manual_seed(0)
    network = build(node, "model", SegmentationModel, num_classes=len(classes))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.data.uniform_(0.5, 1.5)
            layer.running_mean.normal_(std=0.1)  # type: ignore[union-attr]
    (folder / "checkpoints").mkdir(parents=True)
    (folder / ".hydra").mkdir()
    config = {"model": {"name": "net", "encoder_weights": None} | dict(node), "trainer": {"channels_last": True}}
    OmegaConf.save(OmegaConf.create(config), folder / ".hydra" / "config.yaml")
    summary = {"classes": classes, "colors": {name: [1, 2, 3] for name in classes}}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    torch.save(network.state_dict(), folder / "checkpoints" / "best_model.pth")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "light", LIGHTWEIGHT)


@pytest.fixture(scope="module")
def cut(run: Path) -> Pruned:
    """To be copied and never to be changed."""
    return Pruned(3, str(run), LIGHTWEIGHT)


@pytest.fixture
def uncut() -> Callable[[], Pruned]:
    """As built where weights are about to be loaded."""
    return lambda: Pruned(3, None, LIGHTWEIGHT)


def test_the_amount_is_gone_and_every_parameter_still_learns(cut: Pruned, uncut: Callable[[], Pruned]) -> None:
    gone = 1 - parameter_count(cut) / parameter_count(uncut())
    assert gone == pytest.approx(0.25, abs=0.01)
    assert cut.origin is not None and f"({gone:.1%} gone)" in cut.origin
    network = copy.deepcopy(cut).train()
    logits = network(torch.randn(2, 3, 47, 61))
    assert logits.shape == (2, 3, 47, 61)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    roles = [id(parameter) for group in network.parameter_roles().values() for parameter in group]
    assert sorted(roles) == sorted(map(id, network.parameters()))


def test_the_least_important_channels_go() -> None:
    """By the mean of the squared norms of all weights that touch a channel; the outputs stay."""
    torch.manual_seed(0)
    first, norm, last = nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1)
    norm.weight.data.uniform_(0, 2)
    rows, scales, columns = (layer.weight.detach().numpy().copy() for layer in (first, norm, last))
    importance = (np.square(rows).sum((1, 2, 3)) + np.square(scales) + np.square(columns).sum((0, 2, 3))) / 3
    cut_channels(nn.Sequential(first, norm, nn.ReLU(), last), 0.25)  # 7 of 58 parameters a channel: three have to go
    kept = np.sort(np.argsort(importance)[3:])
    np.testing.assert_array_equal(first.weight.detach().numpy(), rows[kept])
    np.testing.assert_array_equal(norm.weight.detach().numpy(), scales[kept])
    np.testing.assert_array_equal(last.weight.detach().numpy(), columns[:, kept])


def test_layers_that_are_joined_lose_equal_shares(cut: Pruned) -> None:
    """A skip of small weights beside features of large ones must not be what all of the channels are taken from."""
    widths = {
        name: module.out_channels for name, module in cut.network.named_modules() if isinstance(module, nn.Conv2d)
    }
    shares = [widths["aspp.project.0.0"] / 32, widths["mid_skip.0"] / 32, widths["low_skip.0"] / 32]
    assert all(share == pytest.approx(0.87, abs=0.05) for share in shares), shares


def test_pruning_again_gives_the_same_network(run: Path, cut: Pruned) -> None:
    again = Pruned(3, str(run), LIGHTWEIGHT).state_dict()
    assert all(tensor.equal(again[name]) for name, tensor in cut.state_dict().items())


@pytest.mark.parametrize(("node", "amount"), [(HEADS, 0.3), (DEEPLAB, 0.2)], ids=["v3", "v1"])
def test_other_networks_keep_their_outputs(tmp_path: Path, node: dict[str, Any], amount: float) -> None:
    network = Pruned(3, str(write_run(tmp_path / "run", node)), node, amount)
    whole = build(node, "model", SegmentationModel, num_classes=3)
    assert 1 - parameter_count(network) / parameter_count(whole) == pytest.approx(amount, abs=0.01)
    image = torch.randn(2, 3, 45, 39)
    assert network(image).shape == whole(image).shape
    frozen = [name for name, parameter in whole.named_parameters() if not parameter.requires_grad]
    assert frozen == [n.removeprefix("network.") for n, p in network.named_parameters() if not p.requires_grad]


def test_weights_alone_say_the_widths(cut: Pruned, uncut: Callable[[], Pruned], tmp_path: Path) -> None:
    image, path = torch.randn(1, 3, 40, 56), tmp_path / "weights.pth"
    torch.save({f"module.{name}": tensor for name, tensor in cut.state_dict().items()}, path)
    by_file, by_checkpoint, average, started = uncut(), uncut(), Ema(uncut(), 0.9), Ema(uncut(), 0.9)
    parameters = list(map(id, by_checkpoint.parameters()))
    assert load_weights(by_file, path).complete
    restore(by_checkpoint, cut.state_dict(), path, "model")
    restore(average, Ema(cut, 0.9).state_dict(), path, "EMA")
    started.network.load_state_dict(by_file.state_dict())
    assert parameters == list(map(id, by_checkpoint.parameters()))  # those that an optimiser holds
    expected = copy.deepcopy(cut).eval()(image)
    assert all(each.eval()(image).equal(expected) for each in (by_file, by_checkpoint, average, started))
    layers = [layer for layer in by_file.modules() if isinstance(layer, nn.Conv2d)]
    assert all(layer.out_channels == layer.weight.shape[0] for layer in layers)
    assert all(layer.in_channels == layer.weight.shape[1] * layer.groups for layer in layers)


def test_memory_format_survives(cut: Pruned, uncut: Callable[[], Pruned]) -> None:
    """Otherwise a resumed training would compute in another order."""
    started = copy.deepcopy(cut).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    resumed = uncut().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    resumed.load_state_dict(started.state_dict())
    strides = [parameter.stride() for parameter in started.parameters()]
    assert strides == [parameter.stride() for parameter in resumed.parameters()]


@pytest.mark.parametrize("fault", ["classes", "wider", "inconsistent", "other"])
def test_weights_of_another_network_change_nothing(cut: Pruned, uncut: Callable[[], Pruned], fault: str) -> None:
    state = dict(cut.state_dict())
    name = "network.mid_skip.0.weight"
    if fault == "classes":
        for key in ("network.classifier.weight", "network.classifier.bias"):
            state[key] = state[key][:2]
    elif fault == "wider":
        state[name] = torch.zeros(33, *state[name].shape[1:])
    elif fault == "inconsistent":
        state[name] = state[name][1:]
    else:
        state["network.other"] = state.pop(name)
    network = uncut()
    with pytest.raises(CheckpointError, match="checkpoint of another model"):
        restore(network, state, Path("x.pth"), "model")
    assert parameter_count(network) == parameter_count(uncut())


def test_refusals_name_the_run_and_the_remedy(run: Path, tmp_path: Path) -> None:
    node = {"run": str(run), "base": LIGHTWEIGHT}

    def refused(said: str, **changes: object) -> None:
        with pytest.raises(ConfigError, match=said):
            check_start(node | changes)

    check_start(node)
    refused("model.run is null: give the finished run", run=None)
    refused(r"^model\.run=.*none does not exist", run=str(tmp_path / "none"))
    refused(
        r"is a run of net, a LightweightDSConv, and model\.base is a DeepLabV2.*model@model\.base=net", base=DEEPLAB
    )
    refused(r"model\.base\.aspp_channels=32 model\.base\.atrous_rates=\[6,12\]$", base={
        "_target_": LIGHTWEIGHT["_target_"], "atrous_rates": [6, 18]
    })  # fmt: skip
    for amount in (0, -0.1, 0.91, 25):
        refused(rf"^model\.amount={amount} is not possible", amount=amount)
    with pytest.raises(ConfigError, match=r"knows 3 classes \(soil, palm, road\) and the data has 5"):
        Pruned(5, str(run), LIGHTWEIGHT)


def test_a_pruned_run_is_not_pruned_again(cut: Pruned, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", LIGHTWEIGHT)
    node = {"name": "x", "_target_": "semiseg.models.Pruned", "run": "gone", "base": LIGHTWEIGHT}
    OmegaConf.save(
        OmegaConf.create({"model": node, "trainer": {"channels_last": True}}), folder / ".hydra" / "config.yaml"
    )
    torch.save(cut.state_dict(), folder / "checkpoints" / "best_model.pth")
    with pytest.raises(ConfigError, match="is pruned already: give the run that it was cut from"):
        check_start({"run": str(folder), "base": LIGHTWEIGHT})


def test_a_network_that_cannot_be_followed_is_refused() -> None:
    class Regrouped(nn.Module):
        """Its layers are joined by a fixed number of channels."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(4, 2, 1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            features = self.first(image)
            return self.second(features.unflatten(1, (2, 4)).sum(dim=1))

    with pytest.raises(ConfigError, match="torch-pruning cannot follow the layers of Regrouped"):
        cut_channels(Regrouped(), 0.25)


def test_the_library_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch_pruning", None)
    with pytest.raises(ConfigError, match=r'pip install -e "\.\[prune\]"'):
        cut_channels(nn.Conv2d(3, 3, 1), 0.25)
