"""What a forward pass costs: operations and time."""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@torch.no_grad()
def gflops(model: nn.Module, height: int, width: int) -> float:
    """10^9 floating-point operations of one RGB image [1, 3, H, W] in eval mode; a multiply-add counts as two.

    Counted are convolutions, matrix products and attention, as in papers: normalisation, activations and resizing
    are left out. One pass on the model's device: the meta device needs no memory but takes five times as long for the
    small networks.
    """
    training = model.training
    image = torch.zeros(1, 3, height, width, device=next(model.parameters()).device)
    with FlopCounterMode(display=False) as counter:
        model.eval()(image)
    model.train(training)
    return counter.get_total_flops() / 1e9


@torch.inference_mode()
def latency_ms(model: nn.Module, height: int, width: int, seconds: float = 0.1) -> float:
    """Median milliseconds of a forward pass of one RGB image [1, 3, H, W] in eval mode and fp32, on the model's device.

    One pass warms up; then as many as fit into `seconds`, at least three. What else runs on the machine counts.
    """
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    image = torch.full((1, 3, height, width), 0.5, device=device)
    times: list[float] = []
    _timed(model, image)
    while len(times) < 3 or sum(times) < seconds:
        times.append(_timed(model, image))
    model.train(training)
    return 1000 * statistics.median(times)


def _timed(model: nn.Module, image: torch.Tensor) -> float:
    begin = time.perf_counter()
    model(image)
    if image.device.type != "cpu":
        torch.accelerator.synchronize(image.device)
    return time.perf_counter() - begin
