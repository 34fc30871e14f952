"""Steps that are not finite: nothing moves, they are counted, and too many in a row end the run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from semiseg.engine import checkpoint as files
from semiseg.engine.finite import Buffers
from semiseg.engine.settings import OptimConfig
from semiseg.errors import CheckpointError, SemisegError
from semiseg.models.base import SegmentationModel
from semiseg.pseudo_label import DiscriminatorGate, NoPseudoLabels, SoftmaxThreshold


class NormNet(SegmentationModel):
    """A convolution whose BatchNorm keeps what it sees."""

    def __init__(self) -> None:
        super().__init__(3, nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), "norm", encoder_weights=None)
        self.head = nn.Conv2d(4, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.encoder(image).relu())


def gate() -> DiscriminatorGate:
    return DiscriminatorGate(optim={}, threshold=0.0, start_step=0)


def bad_images(engine: Any, steps: set[int], times: int = 10**6) -> None:
    """NaN in the images of these steps, in the first `times` batches of them."""
    forward, left = engine.method.forward, [times]

    def poisoned(batch: Any, step: int) -> Any:
        if step in steps and left[0] > 0:
            left[0] -= 1
            batch = batch.map(lambda tensor: tensor * math.nan if tensor.is_floating_point() else tensor)
        return forward(batch, step)

    engine.method.forward = poisoned


def bad_gradients(engine: Any, steps: set[int], part: str = "student") -> None:
    """NaN in one gradient of these steps, while the losses are fine."""
    parameter = next(getattr(engine.method, part).parameters())
    parameter.register_hook(lambda gradient: gradient * math.nan if engine.step in steps else gradient)


def bad_discriminator(engine: Any, steps: set[int]) -> None:
    bad_gradients(engine, steps, "discriminator")


def trained(engine: Any) -> dict[str, Any]:
    """Everything that a step moves, as it is now. Momentum and moments of zero are as good as none."""
    state = {name: value.clone() for name, value in engine.method.state_dict().items() if isinstance(value, Tensor)}
    for name, optimizer in engine.optimizers.items():
        for number, values in optimizer.state_dict()["state"].items():
            state |= {f"{name} {number} {key}": value.clone() for key, value in values.items() if value.any()}
    return state


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def step(engine: Any, stream: Any) -> None:
    engine._train_step(stream)
    engine.step += 1


@pytest.mark.parametrize("labeler", [gate, lambda: SoftmaxThreshold(0.0, start_step=0, teacher="ema"), NoPseudoLabels])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("spoil", [bad_images, bad_gradients])
def test_a_bad_step_leaves_no_trace(make_engine, labeler, optimizer, spoil) -> None:
    optim = OptimConfig(optimizer=optimizer, lr=0.1, momentum=0.9, weight_decay=0.1)
    engine = make_engine(labeler(), optim=optim, ema_decay=0.9, network=NormNet)
    spoil(engine, {0, 2})
    engine.method.train()
    stream = engine.open_stream({})
    for number in range(4):
        before = trained(engine)
        step(engine, stream)
        assert same(before, trained(engine)) == (number in (0, 2))
    assert engine.guard.read() == (2, 0)


@pytest.mark.parametrize("spoil", [bad_gradients, bad_discriminator])
def test_a_bad_student_or_discriminator_skips_both(make_engine, spoil) -> None:
    engine = make_engine(gate(), ema_decay=0.9, network=NormNet)
    spoil(engine, {1})
    engine.method.train()
    stream = engine.open_stream({})
    step(engine, stream)
    before = trained(engine)
    step(engine, stream)
    assert same(before, trained(engine))


def test_one_bad_batch_of_several_skips_the_step(make_engine) -> None:
    engine = make_engine(ema_decay=0.9, network=NormNet, accumulate=3)
    bad_images(engine, {0}, times=1)
    engine.method.train()
    before = trained(engine)
    step(engine, engine.open_stream({}))
    assert same(before, trained(engine))
    assert engine.guard.read() == (1, 1)


def test_a_run_with_bad_steps_goes_on_and_counts_them(make_engine) -> None:
    engine = make_engine(max_steps=8, log_every=4, network=NormNet)
    bad_images(engine, {1, 2, 5})
    assert engine.fit() == "finished"
    assert engine.recorder.skipped == {4: (2, ["loss/ce", "loss/total"]), 8: (3, ["loss/ce", "loss/total"])}
    assert all(math.isfinite(value) for logs in engine.recorder.logs.values() for value in logs.values())
    assert all(bool(tensor.isfinite().all()) for tensor in engine.method.state_dict().values())
    assert engine.recorder.bad is None


def test_average_of_a_log_step_is_that_of_its_good_steps(make_engine) -> None:
    losses: list[float] = []
    for bad in (set(), {2, 3}):
        engine = make_engine(optim=OptimConfig(lr=0.0), max_steps=4, log_every=4)
        bad_images(engine, bad)
        engine.fit()
        losses.append(engine.recorder.logs[4]["loss/ce"])
    halves = make_engine(optim=OptimConfig(lr=0.0), max_steps=2, log_every=2)
    halves.fit()
    assert losses[1] == pytest.approx(halves.recorder.logs[2]["loss/ce"])
    assert losses[1] != losses[0]


def test_too_many_in_a_row_end_the_run_and_leave_what_to_look_at(make_engine) -> None:
    engine = make_engine(max_steps=20, log_every=2, save_latest_every=1, max_bad_steps=3, accumulate=2)
    bad_images(engine, {1, *range(4, 20)})
    with pytest.raises(SemisegError) as raised:
        engine.fit()
    text, folder = str(raised.value), engine.checkpoints.folder
    assert text.startswith("loss/ce, loss/total not finite at step 8, the last of 4 such steps in a row")
    assert f"{folder.parent / 'bad_batch.pt'}" in text
    assert f"{engine.checkpoints.latest} is intact (iteration 4)" in text
    assert f"restore_from={engine.checkpoints.latest} optim.lr=0.05 optim.grad_clip=10" in text
    assert engine.recorder.bad == (8, ["loss/ce", "loss/total"])
    assert files.load(engine.checkpoints.latest)["iteration"] == 4
    kept = torch.load(folder.parent / "bad_batch.pt", weights_only=True)
    assert kept["step"] == 8
    assert [batch["files"]["labeled"] for batch in kept["batches"]] == [["28.png", "29.png"], ["30.png", "31.png"]]
    images = torch.stack([engine.stream.sample(number)[0] for number in (28, 29)])
    assert torch.equal(kept["batches"][0]["image"], images)


def test_a_gradient_alone_ends_the_run_too(make_engine) -> None:
    engine = make_engine(max_steps=9, log_every=2, max_bad_steps=2)
    bad_gradients(engine, set(range(9)))
    with pytest.raises(SemisegError, match=r"^the gradient not finite at step 2.*No checkpoint was written yet"):
        engine.fit()
    assert engine.recorder.bad == (2, [])


def test_a_batch_that_cannot_be_saved_does_not_hide_what_ended_the_run(make_engine, monkeypatch) -> None:
    def full(*_: Any) -> None:
        raise CheckpointError("the disk is full")

    engine = make_engine(max_steps=4, log_every=2, max_bad_steps=1)
    bad_images(engine, set(range(4)))
    monkeypatch.setattr("semiseg.engine.bad_batch.files.save", full)
    with pytest.raises(SemisegError, match=r"^loss/ce, loss/total not finite.*could not be saved: the disk is full"):
        engine.fit()


def test_a_good_step_ends_the_row(make_engine) -> None:
    engine = make_engine(max_steps=12, log_every=1, max_bad_steps=3)
    bad_images(engine, {1, 2, 4, 5, 7, 8})
    assert engine.fit() == "finished"
    assert engine.guard.read() == (6, 0)


def test_counts_go_on_where_they_were(make_engine) -> None:
    settings = {"max_steps": 9, "log_every": 3, "save_every": 4, "max_bad_steps": 9}
    unbroken, resumed = make_engine(**settings), make_engine(**settings)
    for engine in (unbroken, resumed):
        bad_images(engine, {2, 3, 4})
    unbroken.fit()
    path = unbroken.checkpoints.folder / "checkpoint_4.pth"
    resumed.load_state_dict(files.load(path), path)
    assert resumed.guard.read() == (2, 2)
    resumed.fit()
    assert resumed.recorder.logs == {step: unbroken.recorder.logs[step] for step in (6, 8, 9)}
    assert resumed.recorder.skipped[9] == unbroken.recorder.skipped[9] == (3, [])


def test_a_checkpoint_from_before_the_counts_goes_on(make_engine, tmp_path) -> None:
    engine = make_engine(max_steps=2)
    engine.fit()
    state = {key: value for key, value in engine.state_dict().items() if key not in ("bad_steps", "batch")}
    again = make_engine(max_steps=3)
    again.load_state_dict(state, tmp_path / "x.pth")
    assert again.guard.read() == (0, 0)


def half_precision(make_engine: Callable[..., Any], scale: float, **settings: Any) -> Any:
    engine = make_engine(dtype=torch.float16, network=NormNet, **settings)
    engine.optimization.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return engine


def test_a_scale_that_is_too_high_comes_down_and_does_not_count(make_engine) -> None:
    engine = half_precision(make_engine, scale=2.0**40, max_steps=40, log_every=1, max_bad_steps=2)
    weights = [parameter.detach().clone() for parameter in engine.method.parameters()]
    assert engine.fit() == "finished"
    assert engine.guard.read() == (0, 0)
    assert 1 < engine.optimization.scaler.get_scale() < 2.0**40
    assert any(not torch.equal(a, b) for a, b in zip(weights, engine.method.parameters(), strict=True))
    assert all(bool(tensor.isfinite().all()) for tensor in engine.method.state_dict().values())


def test_a_run_in_another_precision_goes_on_in_half_precision(make_engine, tmp_path) -> None:
    before = make_engine(max_steps=2, network=NormNet)
    before.fit()
    again = half_precision(make_engine, scale=4.0, max_steps=3)
    again.load_state_dict(before.state_dict(), tmp_path / "x.pth")
    assert again.step == 2 and again.optimization.scaler.get_scale() == 4.0


def test_a_loss_that_is_not_finite_counts_in_half_precision_too(make_engine) -> None:
    engine = half_precision(make_engine, scale=2.0**10, max_steps=9, log_every=1, max_bad_steps=3)
    bad_images(engine, set(range(2, 9)))
    with pytest.raises(SemisegError, match=r"loss/ce, loss/total not finite at step 5.*trainer\.precision=fp32"):
        engine.fit()


def test_gradients_count_once_the_scale_cannot_be_the_reason(make_engine) -> None:
    engine = half_precision(make_engine, scale=4.0, max_steps=9, log_every=1, max_bad_steps=3)
    bad_gradients(engine, set(range(9)))
    with pytest.raises(SemisegError, match="the gradient not finite at step 5, the last of 3 such steps"):
        engine.fit()  # scales 4 and 2 excuse the first two


def test_buffers_of_every_type_and_shape_come_back() -> None:
    values = [torch.arange(3.0), torch.tensor(5), torch.arange(6.0).view(2, 3), torch.tensor([True, False])]
    mine = [value.clone() for value in values]
    buffers = Buffers(mine)
    for bad in (True, False):
        buffers.remember()
        for value in mine:
            value.copy_(torch.zeros_like(value))
        buffers.restore(torch.tensor(bad))
        expected = values if bad else [torch.zeros_like(value) for value in values]
        assert all(torch.equal(a, b) for a, b in zip(mine, expected, strict=True))
