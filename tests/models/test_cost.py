import pytest
import torch
from torch import nn

from semiseg.models.cost import gflops, latency_ms


def test_a_convolution_counts_two_operations_a_weight_and_output_pixel():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8), nn.ReLU())
    assert gflops(model, 64, 32) == pytest.approx(2 * (3 * 8 * 9) * (32 * 16) / 1e9)


def test_latency_is_that_of_single_images_of_the_given_size_in_eval_mode():
    seen = []

    class Watched(nn.Conv2d):
        def forward(self, image):
            seen.append((tuple(image.shape), self.training))
            return super().forward(image)

    assert latency_ms(Watched(3, 4, 1), 8, 16, seconds=0.0) > 0
    assert seen == [((1, 3, 8, 16), False)] * 4  # one to warm up


@pytest.mark.parametrize("measure", [gflops, latency_ms])
def test_the_model_is_left_as_it_was(measure):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    measure(model, 8, 8)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
