"""The loop: order of the updates, when it logs, evaluates, saves and stops."""

from __future__ import annotations

import math
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import Tensor

from semiseg.engine import checkpoint as files
from semiseg.engine.settings import OptimConfig
from semiseg.errors import CheckpointError, SemisegError
from semiseg.pseudo_label import DiscriminatorGate, SoftmaxThreshold

GUIDE_KEYS = {
    "iteration",
    "model_state",
    "model_D_state",
    "optimizer_state",
    "optimizer_D_state",
    "best_val_miou",
}


def gate(**settings) -> DiscriminatorGate:
    return DiscriminatorGate(**{"optim": {}, "threshold": 0.0, "start_step": 0} | settings)


def parameters(module: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def moved(before: list[Tensor], after: list[Tensor]) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def files_of(engine) -> set[str]:
    return {path.name for path in engine.checkpoints.folder.iterdir()}


def test_both_backward_passes_come_before_either_optimiser_moves(make_engine) -> None:
    engine = make_engine(gate(), max_steps=2)
    events: list[str] = []
    for name, optimizer in engine.optimizers.items():
        optimizer.register_step_pre_hook(lambda *_, name=name: events.append(f"step {name}"))
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.register_hook(lambda _, name=name: events.append(f"gradient {name}"))
    engine.fit()
    once = [event for event, before in zip(events, [None, *events], strict=False) if event != before]
    halves = once[: len(once) // 2], once[len(once) // 2 :]
    for events_of_step in halves:
        assert events_of_step[:2] == ["gradient student", "gradient discriminator"]
        assert sorted(events_of_step[2:]) == ["step discriminator", "step student"]


def test_no_gradient_is_left_for_the_next_step(make_engine) -> None:
    engine = make_engine(gate(), max_steps=1)
    engine.fit()
    assert all(parameter.grad is None for parameter in engine.method.parameters())


def test_an_optimiser_without_a_loss_does_not_move(make_engine) -> None:
    engine = make_engine(
        gate(start_step=2, discriminator_start=2), optim=OptimConfig(optimizer="adamw", weight_decay=0.1), max_steps=2
    )
    student, discriminator = parameters(engine.method.student), parameters(engine.method.discriminator)
    steps: list[str] = []
    for name, optimizer in engine.optimizers.items():
        optimizer.register_step_pre_hook(lambda *_, name=name: steps.append(name))
    engine.fit()
    assert steps == ["student", "student"]
    assert moved(student, parameters(engine.method.student))
    assert not moved(discriminator, parameters(engine.method.discriminator))
    assert engine.optimizers["discriminator"].state == {}


def test_two_accumulated_half_batches_are_one_batch(make_engine) -> None:
    whole, halves = make_engine(max_steps=3, batch_size=4), make_engine(max_steps=3, batch_size=2, accumulate=2)
    start = parameters(whole.method.student)
    for engine in (whole, halves):
        engine.fit()
    assert moved(start, parameters(whole.method.student))
    torch.testing.assert_close(parameters(halves.method.student), parameters(whole.method.student))
    assert halves.stream.position == whole.stream.position == {"labeled": 12}


def test_gradients_are_clipped_to_their_norm(make_engine) -> None:
    optim = OptimConfig(lr=1.0, momentum=0.0, grad_clip=0.01)
    engine = make_engine(optim=optim, max_steps=1)
    before = parameters(engine.method.student)
    engine.fit()
    change = [a - b for a, b in zip(before, parameters(engine.method.student), strict=True)]
    assert math.sqrt(sum(float((c**2).sum()) for c in change)) == pytest.approx(0.01, rel=1e-4)


def test_in_bfloat16_the_teachers_pass_costs_the_student_no_gradient(make_engine) -> None:
    """Autocast keeps cast weights: ones cast without a gradient would cut the student off."""
    engine = make_engine(SoftmaxThreshold(0.0, start_step=0), dtype=torch.bfloat16, max_steps=1)
    before = parameters(engine.method.student)
    engine.fit()
    for old, new in zip(before, parameters(engine.method.student), strict=True):
        assert moved([old], [new])
        assert new.dtype == torch.float32


def test_rates_follow_the_schedule(make_engine) -> None:
    engine = make_engine(optim=OptimConfig(lr=0.1, power=1.0), max_steps=4, log_every=1)
    engine.fit()
    rates = [engine.recorder.logs[step]["lr/student"] for step in (1, 2, 3, 4)]
    assert rates == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_average_follows_each_step(make_engine) -> None:
    engine = make_engine(ema_decay=0.9, max_steps=3)
    engine.fit()
    assert engine.method.ema.updates == 3
    assert {"best_model_ema.pth", "final_model_ema.pth"} <= files_of(engine)


def test_it_logs_every_log_every_steps_at_evaluations_and_at_the_end(make_engine) -> None:
    engine = make_engine(max_steps=7, log_every=3)
    engine.fit()
    assert list(engine.recorder.logs) == [3, 4, 6, 7]
    assert set(engine.recorder.logs[3]) == {"loss/ce", "loss/total", "lr/student"}


def test_files_are_saved_when_due(make_engine) -> None:
    engine = make_engine(max_steps=5, eval_every=2, save_latest_every=2, save_every=3)
    assert engine.fit() == "finished"
    assert files_of(engine) == {
        "latest_checkpoint.pth",
        "latest_model.pth",
        "checkpoint_3.pth",
        "best_model.pth",
        "final_model.pth",
    }
    assert files.load(engine.checkpoints.latest)["iteration"] == 5
    assert engine.recorder.evaluations == [2, 4, 5]
    assert engine.stream.closed


def test_the_latest_checkpoint_is_written_after_all_else_of_its_step(make_engine, monkeypatch) -> None:
    """A kill in between must not leave a run that goes on from it without the numbered one or the weights."""
    written: list[str] = []
    monkeypatch.setattr(files, "save", lambda payload, path, run, step: written.append(path.name))
    engine = make_engine(max_steps=2, eval_every=2, save_latest_every=2, save_every=2)
    engine.fit()
    before, after = written[: written.index("latest_checkpoint.pth")], written[written.index("latest_checkpoint.pth") :]
    assert set(before) == {"best_model.pth", "checkpoint_2.pth", "latest_model.pth"}
    assert after == ["latest_checkpoint.pth", "final_model.pth"]


def test_length_and_evaluations_in_epochs(make_engine) -> None:
    engine = make_engine(max_steps=None, max_epochs=3, steps_per_epoch=4)
    assert engine.fit() == "finished"
    assert engine.step == 12
    assert engine.recorder.evaluations == [4, 8, 12]


@pytest.mark.parametrize(("batch_size", "steps"), [(2, 12), (4, 9), (1, 18)])
def test_a_resumed_run_has_the_epochs_that_are_left_with_batches_of_any_size(
    make_engine, batch_size: int, steps: int, tmp_path: Path
) -> None:
    epochs = {"max_steps": None, "max_epochs": 3}
    first = make_engine(**epochs)
    first.step, first.position = 6, {"labeled": 12}
    engine = make_engine(**epochs, batch_size=batch_size, steps_per_epoch=8 // batch_size)
    engine.load_state_dict(first.state_dict(), tmp_path / "x.pth")
    engine.fit()
    assert engine.step == engine.optimization.total_steps == steps
    assert engine.stream.position == {"labeled": 24}


def test_what_an_evaluation_may_end_is_logged_before_it(make_engine) -> None:
    engine = make_engine(max_steps=20, eval_every=3, log_every=10, early_stop_patience=1, scores=(0.5, 0.4))
    assert engine.fit() == "stopped early"
    assert engine.recorder.images == {3: 6, 6: 6} and engine.recorder.evaluations == [3, 6]


def test_a_restore_elsewhere_goes_on_from_the_best_score(make_engine, tmp_path: Path) -> None:
    """And from the patience; of the weights, which are in the other folder, the next evaluation writes its own."""
    first = make_engine(max_steps=2, eval_every=1, early_stop_patience=3, scores=(0.6, 0.5))
    first.fit()
    engine = make_engine(max_steps=6, eval_every=1, early_stop_patience=3, scores=(0.4, 0.45, 0.9))
    engine.load_state_dict(first.state_dict(), tmp_path / "x.pth")
    engine.start_anew_in_folder()
    assert engine.fit() == "stopped early"
    assert (engine.step, engine.best.step, engine.best.miou, engine.best.since) == (4, 1, 0.6, 3)
    assert engine.best.weights == (4, 0.45) and engine.checkpoints.best.is_file()


def test_the_ramps_end_with_the_recounted_length(make_engine, tmp_path: Path) -> None:
    epochs = {"max_steps": None, "max_epochs": 3}
    first = make_engine(**epochs)
    first.step, first.position = 6, {"labeled": 12}
    labeler = DiscriminatorGate(optim={"lr": 1e-4})
    engine = make_engine(**epochs, labeler=labeler, batch_size=4, steps_per_epoch=2)
    state = first.state_dict()
    for key in ("model_D_state", "optimizer_D_state"):
        state[key] = engine.state_dict()[key]
    engine.load_state_dict(state, tmp_path / "x.pth")
    assert labeler.total_steps == engine.total_steps == 9


def test_it_stops_after_patience_evaluations_without_a_new_best(make_engine) -> None:
    scores = (0.5, 0.4, 0.6, 0.6, 0.5, 0.9)
    engine = make_engine(max_steps=20, eval_every=1, early_stop_patience=2, scores=scores)
    assert engine.fit() == "stopped early"
    assert (engine.step, engine.best.step, engine.best.miou) == (5, 3, 0.6)
    assert files.load(engine.checkpoints.latest)["iteration"] == 5
    assert engine.recorder.evaluations == [1, 2, 3, 4, 5]


def test_best_weights_are_those_of_the_best_evaluation(make_engine) -> None:
    engine = make_engine(max_steps=3, eval_every=1, save_every=1, scores=(0.5, 0.6, 0.4))
    engine.fit()
    folder = engine.checkpoints.folder
    best = torch.load(folder / "best_model.pth", weights_only=True)
    second = files.load(folder / "checkpoint_2.pth")
    torch.testing.assert_close(dict(best), dict(second["model_state"]), rtol=0, atol=0)
    assert not torch.equal(best["head.bias"], files.load(folder / "checkpoint_3.pth")["model_state"]["head.bias"])


def test_a_run_whose_score_is_undefined_still_leaves_weights(make_engine) -> None:
    engine = make_engine(max_steps=1, scores=(math.nan,))
    engine.fit()
    assert (engine.checkpoints.folder / "best_model.pth").is_file()


def test_a_defined_score_beats_an_undefined_one(make_engine) -> None:
    engine = make_engine(max_steps=4, eval_every=1, scores=(math.nan, 0.5, math.nan, 0.4))
    engine.fit()
    assert (engine.best.step, engine.best.miou) == (2, 0.5)


def test_checkpoint_has_the_guides_keys(make_engine) -> None:
    with_gate, without = make_engine(gate(), ema_decay=0.9).state_dict(), make_engine().state_dict()
    assert with_gate.keys() == without.keys()
    assert with_gate.keys() >= GUIDE_KEYS
    assert without["model_D_state"] is without["optimizer_D_state"] is without["ema_state"] is None


@pytest.mark.parametrize("labeler", [gate, lambda: SoftmaxThreshold(0.0, start_step=0, teacher="ema")])
def test_resumed_engine_ends_where_the_unbroken_one_does(make_engine, labeler) -> None:
    settings = {"ema_decay": 0.9, "optim": OptimConfig(lr=0.1, momentum=0.9), "log_every": 4, "save_every": 3}
    unbroken = make_engine(labeler(), max_steps=6, **settings)
    unbroken.fit()
    path = unbroken.checkpoints.folder / "checkpoint_3.pth"
    resumed = make_engine(labeler(), max_steps=6, **settings)
    resumed.load_state_dict(files.load(path), path)
    assert resumed.step == 3
    assert resumed.fit() == "finished"
    assert resumed.recorder.logs == {step: unbroken.recorder.logs[step] for step in (4, 6)}
    assert not moved(parameters(unbroken.method), parameters(resumed.method))
    assert resumed.method.ema.updates == unbroken.method.ema.updates == 6


class Syncs:
    """Counts what makes the host wait for a device, by the finished steps at which it happened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine, self.calls = None, []
        for name in ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__int__", "__float__", "__index__"):
            monkeypatch.setattr(Tensor, name, self.counting(name, getattr(Tensor, name)))

    def counting(self, name, original):
        def call(tensor, *args, **kwargs):
            caller = Path(sys._getframe(1).f_code.co_filename).as_posix()
            if self.engine is not None and "/torch/optim/" not in caller:  # Adam reads its step count, on the host
                self.calls.append((self.engine.step, name))
            return original(tensor, *args, **kwargs)

        return call


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("labeler", [gate, lambda: SoftmaxThreshold(0.5, start_step=0)])
def test_nothing_waits_for_the_device_between_log_steps(make_engine, monkeypatch, labeler, dtype) -> None:
    optim = OptimConfig(optimizer="adamw", grad_clip=10.0)
    engine = make_engine(labeler(), optim=optim, dtype=dtype, ema_decay=0.9, max_steps=6, log_every=3, eval_every=6)
    syncs = Syncs(monkeypatch)
    stream = engine.open_stream({})
    batches = iter([next(stream) for _ in range(6)])
    monkeypatch.setattr(type(stream), "__next__", lambda self: next(batches))
    syncs.engine = engine
    engine.fit()
    assert {step for step, _ in syncs.calls} <= {3, 6}
    assert (3, "tolist") in syncs.calls


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("labeler", [gate, lambda: SoftmaxThreshold(0.5, start_step=0)])
def test_a_cuda_step_never_synchronises(make_engine, labeler) -> None:
    """PyTorch itself reports every synchronisation, those inside its kernels included."""
    optim = OptimConfig(optimizer="adamw", grad_clip=10.0)
    engine = make_engine(labeler(), optim=optim, ema_decay=0.9, device="cuda")
    engine.method.train()
    batches = iter([next(engine.open_stream({})) for _ in range(4)])
    engine._train_step(batches)  # allocations and the optimisers' state may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            engine._train_step(batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_request_to_stop_ends_after_the_step_with_a_checkpoint(make_engine) -> None:
    engine = make_engine(max_steps=6, save_latest_every=4, log_every=4)
    engine.stop_requested = lambda: engine.step == 2
    assert engine.fit() == "interrupted"
    assert files.load(engine.checkpoints.latest)["iteration"] == 2
    assert engine.stream.closed
    assert (engine.recorder.logs, engine.recorder.evaluations) == ({}, [])
    resumed, unbroken = make_engine(max_steps=6, log_every=4), make_engine(max_steps=6, log_every=4)
    resumed.load_state_dict(files.load(engine.checkpoints.latest), engine.checkpoints.latest)
    for each in (resumed, unbroken):
        each.fit()
    assert resumed.recorder.logs == unbroken.recorder.logs
    assert not moved(parameters(resumed.method), parameters(unbroken.method))


def test_a_step_that_is_saved_already_is_not_saved_again_on_request(make_engine, monkeypatch) -> None:
    engine = make_engine(max_steps=6, save_latest_every=2)
    engine.stop_requested = lambda: engine.step == 2
    saved: list[int] = []
    monkeypatch.setattr(engine.checkpoints, "save_latest", lambda state: saved.append(state["iteration"]))
    assert engine.fit() == "interrupted"
    assert saved == [2]


@pytest.mark.parametrize("ending", [lambda: True, lambda: 1 / 0])
def test_pending_checkpoints_are_waited_for_whichever_way_it_ends(make_engine, monkeypatch, ending) -> None:
    engine = make_engine()
    engine.stop_requested = ending
    closed: list[bool] = []
    monkeypatch.setattr(engine.checkpoints, "close", lambda: closed.append(True))
    with suppress(ZeroDivisionError):
        engine.fit()
    assert closed == [True]


def test_patience_goes_on_where_it_was(make_engine) -> None:
    settings = {"max_steps": 20, "eval_every": 1, "early_stop_patience": 3, "save_every": 1}
    unbroken = make_engine(scores=(0.5, 0.6, 0.4), **settings)
    assert unbroken.fit() == "stopped early"
    path = unbroken.checkpoints.folder / "checkpoint_4.pth"
    resumed = make_engine(scores=(0.4,), **settings)
    resumed.load_state_dict(files.load(path), path)
    assert resumed.best.since == 2
    assert resumed.fit() == "stopped early"
    assert (resumed.step, resumed.best.step, resumed.best.miou) == (unbroken.step, 2, 0.6) == (5, 2, 0.6)


def test_a_run_cannot_end_before_its_checkpoint(make_engine, tmp_path) -> None:
    longer = make_engine(max_steps=4)
    longer.fit()
    with pytest.raises(SemisegError, match=r"4 iterations behind it.*max_steps"):
        make_engine(max_steps=3).load_state_dict(longer.state_dict(), tmp_path / "x.pth")


def test_a_checkpoint_of_another_optimiser_is_refused(make_engine, tmp_path) -> None:
    adam, adamw = (make_engine(optim=OptimConfig(optimizer=name)) for name in ("adam", "adamw"))
    state = adam.state_dict()
    assert state["optimizer_kinds"] == {"student": "Adam"}
    with pytest.raises(CheckpointError, match=r"x\.pth holds the state of another optimiser"):
        adamw.load_state_dict(state, tmp_path / "x.pth")
    assert adamw.step == 0


def test_a_checkpoint_from_before_the_optimisers_names_goes_on(make_engine, tmp_path) -> None:
    engine = make_engine(max_steps=2)
    engine.fit()
    state = engine.state_dict()
    del state["optimizer_kinds"]
    again = make_engine(max_steps=3)
    again.load_state_dict(state, tmp_path / "x.pth")
    assert again.step == 2
