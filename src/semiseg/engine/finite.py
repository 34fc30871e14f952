"""Steps whose loss or gradient is not finite: decided, undone and counted on the device, which nobody waits for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from semiseg.methods import SemiSupervised


class Guard:
    """Judges each step: taken when every loss and the norm of every gradient is finite, else skipped as a whole.

    A skipped step moves no optimiser, no average and no buffer. Where a discriminator trains beside the student, a bad
    loss or gradient of either skips both: each would otherwise go on against an opponent that stood still, and the two
    share a forward pass. One bad batch of several accumulated ones skips them all.

    `skipped` and `in_a_row` count the skipped steps of the run and those since the last one taken. In fp16 a gradient
    may overflow only because its scale is too high, as in the first steps: the scaler lowers it, and the step does not
    count unless the loss itself is bad, or the scale is down to 1 and cannot be the reason.
    """

    def __init__(self, method: SemiSupervised, device: torch.device) -> None:
        self.buffers = Buffers(trained_buffers(method))
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)
        self.in_a_row = torch.zeros((), dtype=torch.int64, device=device)
        self._finite_losses = torch.ones((), dtype=torch.bool, device=device)

    def begin(self) -> None:
        """Before the first forward pass of a step."""
        self.buffers.remember()
        self._finite_losses = torch.ones_like(self._finite_losses)

    def see(self, losses: Mapping[str, Tensor]) -> None:
        """Take in the losses of one batch."""
        self._finite_losses = self._finite_losses & all_finite(list(losses.values()))

    def judge(self, norms: Sequence[Tensor], scale: Tensor) -> Tensor:
        """1.0 where the step is to be skipped, else 0.0, as a 0-d tensor; its forward passes are then undone.

        `norms` are those of the gradients, one an optimiser, and `scale` what the losses were multiplied with.
        """
        finite_gradients = all_finite(norms)
        bad = ~self._finite_losses | (~finite_gradients & (scale <= 1))
        skip = ~(self._finite_losses & finite_gradients)
        self.skipped = self.skipped + bad
        self.in_a_row = (self.in_a_row + bad) * skip
        self.buffers.restore(skip)
        return skip.float()

    def undo(self) -> None:
        """Take back what the forward passes since `begin` did to the buffers."""
        self.buffers.restore(torch.ones_like(self._finite_losses))

    def read(self) -> tuple[int, int]:
        """`skipped` and `in_a_row`; waits for the device."""
        skipped, in_a_row = torch.stack([self.skipped, self.in_a_row]).tolist()
        return skipped, in_a_row

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint keeps."""
        return dict(zip(("skipped", "in_a_row"), self.read(), strict=True))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Counterpart of `state_dict`; a checkpoint of an older version has no counts."""
        self.skipped = torch.full_like(self.skipped, state.get("skipped", 0))
        self.in_a_row = torch.full_like(self.in_a_row, state.get("in_a_row", 0))


class Buffers:
    """Puts buffers back on the device: a NaN that passes a BatchNorm would stay in its running statistics for ever.

    Those of a type are joined into one tensor: a network has hundreds, and a kernel for each would cost milliseconds.
    """

    def __init__(self, buffers: Iterable[Tensor]) -> None:
        self._by_type: dict[torch.dtype, list[Tensor]] = {}
        for buffer in buffers:
            self._by_type.setdefault(buffer.dtype, []).append(buffer)
        self._before: dict[torch.dtype, Tensor] = {}

    def remember(self) -> None:
        """Keep the values of now."""
        self._before = {dtype: joined(buffers) for dtype, buffers in self._by_type.items()}

    @torch.no_grad()
    def restore(self, where: Tensor) -> None:
        """Take back the values that were kept where `where`, a 0-d bool, is true."""
        for dtype, buffers in self._by_type.items():
            values = torch.where(where, self._before[dtype], joined(buffers))
            parts = values.split([buffer.numel() for buffer in buffers])
            torch._foreach_copy_(buffers, [part.view(b.shape) for part, b in zip(parts, buffers, strict=True)])


def trained_buffers(method: SemiSupervised) -> list[Tensor]:
    """The buffers that a forward pass may change: all but those of the average and of a teacher, which never train."""
    fixed: list[nn.Module | None] = [method.ema, *map(method.labeler.get_submodule, method.labeler.from_elsewhere)]
    left_out = {id(buffer) for network in fixed if network is not None for buffer in network.buffers()}
    return [buffer for buffer in method.buffers() if id(buffer) not in left_out]


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """All values of the tensors one after another, [n]."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def all_finite(values: Sequence[Tensor]) -> Tensor:
    """Whether all 0-d tensors are finite, as a 0-d bool."""
    return torch.stack([value.detach().float() for value in values]).isfinite().all()


def is_loss(name: str) -> bool:
    """Whether a log is one of the losses."""
    return name.startswith("loss/")
