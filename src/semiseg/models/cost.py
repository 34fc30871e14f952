"""What a forward pass costs, counted without computing it."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def gflops(model: nn.Module, height: int, width: int) -> float:
    """10^9 floating-point operations of one RGB image [1, 3, H, W] in eval mode; a multiply-add counts as two.

    Counted are convolutions, matrix products and attention, as in papers: normalisation, activations and resizing
    are left out. It runs on PyTorch's meta device, so it takes no memory and leaves the model as it is.
    """
    counted = copy.deepcopy(model).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        counted(torch.empty(1, 3, height, width, device="meta"))
    return counter.get_total_flops() / 1e9
