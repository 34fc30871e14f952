"""Every segmentation network against the same expectations, then what is particular to each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v3_small

from semiseg.contracts import as_heads
from semiseg.errors import ConfigError
from semiseg.models import (
    DeepLabV2,
    LightweightDSConv,
    LightweightOriginal,
    MultiHeadDeepLabV3Plus,
    SegmentationModel,
    load_weights,
)


@pytest.fixture(scope="class")
def network(request: pytest.FixtureRequest) -> SegmentationModel:
    torch.manual_seed(0)
    return request.cls.small(5)


def encoder_batchnorms(network: SegmentationModel) -> list[nn.BatchNorm2d]:
    return [layer for layer in network.encoder.modules() if isinstance(layer, nn.BatchNorm2d)]


class NetworkTester:
    """Inherited by the tests of each network, which name it in `full` and a cheap variant of it in `small`."""

    heads = 1
    parameters: tuple[int, int]  # classes, parameters
    full: Callable[[int], SegmentationModel]
    small: Callable[[int], SegmentationModel]

    def test_parameter_count(self):
        num_classes, expected = self.parameters
        with torch.device("meta"):
            network = self.full(num_classes)
        assert sum(p.numel() for p in network.parameters()) == expected

    @pytest.mark.parametrize("size", [(33, 33), (65, 97), (64, 50)])
    def test_logits_have_the_image_size(self, network: SegmentationModel, size: tuple[int, int]):
        with torch.no_grad():
            logits = network.eval()(torch.randn(1, 3, *size))
        assert as_heads(logits).shape == (self.heads, 1, 5, *size)
        assert logits.isfinite().all()

    def test_training_reaches_every_parameter(self):
        torch.manual_seed(0)
        network = self.full(4).train()
        logits = network(torch.randn(2, 3, 40, 56))
        (logits * torch.randn_like(logits)).sum().backward()
        without = [n for n, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
        assert without == []

    def test_roles_hold_each_trainable_parameter_once(self, network: SegmentationModel):
        roles = network.parameter_roles()
        assert set(roles) == {"encoder", "head", "head_bias"}
        listed = [id(p) for group in roles.values() for p in group]
        assert len(listed) == len(set(listed))
        assert set(listed) == {id(p) for p in network.parameters() if p.requires_grad}
        assert set(map(id, roles["encoder"])) == set(map(id, network.encoder.parameters()))

    def test_evaluation_is_deterministic_and_independent_of_the_batch(self, network: SegmentationModel):
        images = torch.randn(2, 3, 48, 48)
        with torch.no_grad():
            together, again = network.eval()(images), network(images)
            alone = network(images[:1])
        assert torch.equal(together, again)
        torch.testing.assert_close(as_heads(together)[:, :1], as_heads(alone), rtol=1e-4, atol=1e-5)

    def test_weights_survive_a_file(self, network: SegmentationModel, tmp_path: Path):
        torch.save(network.state_dict(), tmp_path / "best_model.pth")
        other = self.small(5)
        assert load_weights(other, tmp_path / "best_model.pth").complete
        image = torch.randn(1, 3, 40, 40)
        with torch.no_grad():
            assert torch.equal(network.eval()(image), other.eval()(image))

    def test_from_scratch_the_classes_start_near_equal(self, network: SegmentationModel):
        with torch.no_grad():
            probability = as_heads(self.small(5).train()(torch.randn(2, 3, 48, 48))).softmax(dim=2)
        assert (probability.mean(dim=(0, 1, 3, 4)) - 1 / 5).abs().max() < 0.15

    def test_one_class_is_refused(self):
        with pytest.raises(ConfigError, match="num_classes=1"):
            self.small(1)


class RefusesOneImage:
    """For networks with BatchNorm behind global pooling."""

    def test_training_on_one_image_names_the_setting(self, network: SegmentationModel):
        with pytest.raises(ConfigError, match=r"trainer\.batch_size"):
            network.train()(torch.randn(1, 3, 33, 33))


class TestDeepLabV2(NetworkTester):
    parameters = (21, 44_048_532)

    full = staticmethod(DeepLabV2)
    small = staticmethod(partial(DeepLabV2, encoder="resnet18"))

    def test_head_count_and_dilations(self):
        with torch.device("meta"):
            network = self.full(21)
        assert sum(p.numel() for p in network.head.parameters()) == 1_548_372
        assert [branch.dilation for branch in network.head.branches] == [(6, 6), (12, 12), (18, 18), (24, 24)]
        for layer, dilation in ((network.encoder.layer3, 2), (network.encoder.layer4, 4)):
            assert {(m.stride, m.dilation[0]) for m in layer.modules() if isinstance(m, nn.Conv2d)} == {
                ((1, 1), dilation)
            }

    def test_the_head_sums_all_its_branches(self, network: DeepLabV2):
        features = torch.randn(1, 512, 7, 9)
        expected = sum(
            F.conv2d(features, b.weight, b.bias, padding=rate, dilation=rate)
            for b, rate in zip(network.head.branches, (6, 12, 18, 24), strict=True)
        )
        torch.testing.assert_close(network.head(features), expected, rtol=1e-4, atol=1e-4)

    def test_biases_are_a_group_of_their_own(self, network: DeepLabV2):
        assert [p.shape for p in network.parameter_roles()["head_bias"]] == [(5,)] * 4
        assert {p.dim() for p in network.parameter_roles()["head"]} == {4}

    def test_trains_on_one_image(self, network: DeepLabV2):
        assert network.train()(torch.randn(1, 3, 40, 40)).shape == (1, 5, 40, 40)

    def test_batchnorm_is_frozen_with_pretrained_weights_only(self, network: DeepLabV2, tmp_path: Path):
        torch.save(network.encoder.state_dict(), tmp_path / "resnet18.pth")
        pretrained = DeepLabV2(5, encoder="resnet18", encoder_weights=str(tmp_path / "resnet18.pth"))
        free = DeepLabV2(5, encoder="resnet18", encoder_weights=str(tmp_path / "resnet18.pth"), freeze_bn_affine=False)
        assert pretrained.weights_report is not None and pretrained.weights_report.complete
        assert not any(
            layer.weight.requires_grad or layer.bias.requires_grad for layer in encoder_batchnorms(pretrained)
        )
        for trained in (network, free):
            assert all(layer.weight.requires_grad and layer.bias.requires_grad for layer in encoder_batchnorms(trained))
        roles = pretrained.parameter_roles()
        assert all(p.requires_grad for p in roles["encoder"])
        assert len(roles["encoder"]) == sum(isinstance(m, nn.Conv2d) for m in pretrained.encoder.modules())
        before = pretrained.encoder.bn1.running_mean.clone()
        pretrained.train()(torch.randn(2, 3, 40, 40))
        assert not torch.equal(pretrained.encoder.bn1.running_mean, before)


class TestMultiHeadDeepLabV3Plus(NetworkTester, RefusesOneImage):
    heads = 3
    parameters = (7, 26_682_725)

    full = staticmethod(MultiHeadDeepLabV3Plus)
    small = staticmethod(partial(MultiHeadDeepLabV3Plus, encoder="resnet18", decoder_channels=32))

    @pytest.mark.parametrize("output_stride", [8, 16])
    def test_one_head_equals_the_library_on_even_sizes(self, output_stride: int):
        ours = MultiHeadDeepLabV3Plus(4, encoder="resnet18", output_stride=output_stride, num_heads=1).eval()
        theirs = smp.DeepLabV3Plus(
            "resnet18",
            encoder_weights=None,
            encoder_output_stride=output_stride,
            decoder_atrous_rates=(6, 12, 18),
            classes=4,
        ).eval()
        theirs.encoder.load_state_dict(ours.encoder.state_dict())
        theirs.decoder.load_state_dict(ours.decoder.state_dict())
        theirs.segmentation_head[0].load_state_dict(ours.heads[0][1].state_dict())
        image = torch.randn(1, 3, 64, 96)
        with torch.no_grad():
            torch.testing.assert_close(ours(image)[0], theirs(image), rtol=1e-4, atol=1e-5)

    def test_heads_differ(self, network: MultiHeadDeepLabV3Plus):
        with torch.no_grad():
            logits = network.eval()(torch.randn(1, 3, 48, 48))
        assert not torch.allclose(logits[0], logits[1]) and not torch.allclose(logits[1], logits[2])

    @pytest.mark.parametrize(
        ("num_heads", "expected"),
        [(1, [0.1]), (2, [0.1, 0.15]), (3, [0.1, 0.15, 0.2]), (5, [0.1, 0.15, 0.2, 0.1, 0.15])],
    )
    def test_dropout_of_any_number_of_heads(self, num_heads: int, expected: list[float]):
        network = MultiHeadDeepLabV3Plus(3, encoder="resnet18", num_heads=num_heads, decoder_channels=16)
        assert [head[0].p for head in network.heads] == expected

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"num_heads": 0}, "num_heads=0"),
            ({"head_dropout": []}, "head_dropout"),
            ({"head_dropout": [0.1, 1.5]}, "head_dropout"),
            ({"atrous_rates": [6, 12]}, "atrous_rates"),
            ({"output_stride": 32}, "use 8 or 16"),
            ({"encoder": "resnet5O"}, "did you mean resnet50"),
            ({"encoder": "efficientnet-b0"}, "Valid: resnet18, resnet34"),
        ],
    )
    def test_wrong_settings(self, settings: dict[str, object], message: str):
        with pytest.raises(ConfigError, match=message):
            MultiHeadDeepLabV3Plus(3, **settings)


class TestLightweightDSConv(NetworkTester, RefusesOneImage):
    parameters = (21, 2_516_853)

    full = staticmethod(LightweightDSConv)
    small = staticmethod(partial(LightweightDSConv, aspp_channels=32))

    def test_encoder_is_torchvisions_and_dilated(self, network: LightweightDSConv):
        reference = mobilenet_v3_small(weights=None, dilated=True).eval()
        network.eval().encoder.load_state_dict(
            {key: value for key, value in reference.state_dict().items() if key.startswith("features.")}
        )
        image = torch.randn(1, 3, 65, 97)
        with torch.no_grad():
            low, mid, deep = network.encoder(image)
            torch.testing.assert_close(deep, reference.features(image))
        assert [tuple(x.shape[1:]) for x in (low, mid, deep)] == [(16, 17, 25), (24, 9, 13), (576, 5, 7)]


class TestLightweightOriginal(NetworkTester, RefusesOneImage):
    parameters = (21, 6_831_509)

    full = staticmethod(LightweightOriginal)
    small = staticmethod(partial(LightweightOriginal, aspp_channels=16))
