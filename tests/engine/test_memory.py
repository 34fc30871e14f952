"""Running out of memory: what is said of it, and the smaller batches that take its place."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from semiseg.engine import checkpoint as files
from semiseg.engine import memory
from semiseg.engine.settings import OptimConfig, TrainerConfig
from semiseg.errors import ConfigError, SemisegError
from semiseg.pseudo_label import NoPseudoLabels, SoftmaxThreshold

CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB."


def room_for(engine: Any, images: int, smallest: int = 1) -> None:
    """Memory for that many images at once, in a network that takes no fewer than `smallest`."""
    forward = engine.method.forward

    def limited(batch: Any, step: int) -> Any:
        if len(batch.image) > images:
            raise torch.OutOfMemoryError(CUDA)
        if len(batch.image) < smallest:
            raise ConfigError("cannot train on a batch of 1 image")
        return forward(batch, step)

    engine.method.forward = limited


def parameters(engine: Any) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in engine.method.parameters()]


def trainer(**settings: Any) -> TrainerConfig:
    return TrainerConfig(max_steps=1, **settings)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError(CUDA), True),
        (torch.cuda.OutOfMemoryError(CUDA), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
            True,
        ),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("FIND was unable to find an engine to execute this computation"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool) -> None:
    assert memory.is_out_of_memory(error) == expected


def test_the_cpus_own_error_is_known() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert memory.is_out_of_memory(raised.value)


@pytest.mark.parametrize(
    ("labeled", "unlabeled", "uses_unlabeled", "parts"),
    [
        (8, 8, True, 2),
        (8, 6, True, 2),
        (6, 2, True, None),
        (9, 9, True, 3),
        (8, 12, True, 2),
        (8, 5, True, None),
        (8, 5, False, 2),
        (2, 2, True, None),
        (3, 3, True, None),
        (1, 1, False, None),
    ],
)
def test_batches_are_halved_where_that_is_possible(labeled, unlabeled, uses_unlabeled, parts) -> None:
    settings = trainer(batch_size=labeled, unlabeled_batch_size=unlabeled)
    assert memory.splitting(settings, uses_unlabeled) == parts


def test_the_images_of_a_step_stay() -> None:
    settings = trainer(batch_size=8, unlabeled_batch_size=12, accumulate=3)
    memory.split(settings, 2, uses_unlabeled=True)
    assert memory.sizes(settings) == {"batch_size": 4, "unlabeled_batch_size": 6, "accumulate": 6}
    memory.split(settings, 2, uses_unlabeled=False)
    assert memory.sizes(settings) == {"batch_size": 2, "unlabeled_batch_size": 6, "accumulate": 12}


@pytest.mark.parametrize("first_bad", [0, 2])
def test_batches_are_split_until_they_fit_and_train_the_same(make_engine, first_bad: int) -> None:
    """TinyNet has no BatchNorm: half batches add up to whole ones."""
    optim = OptimConfig(lr=0.1, momentum=0.9)
    settings = {"max_steps": 4, "batch_size": 8, "unlabeled_batch_size": 8, "log_every": 2, "steps_per_epoch": 2}
    whole = make_engine(optim=optim, **settings)
    whole.fit()
    engine = make_engine(optim=optim, auto_batch=True, **settings)
    start = engine._train_step

    def train_step(stream: Any) -> None:
        if engine.step == first_bad:
            engine._train_step = start
            room_for(engine, 2)
        start(stream)

    engine._train_step = train_step
    assert engine.fit() == "finished"
    assert engine.recorder.splits == [(first_bad, 4, 2), (first_bad, 2, 4)]
    assert (engine.trainer.batch_size, engine.trainer.accumulate) == (2, 4)
    assert engine.stream.position == whole.stream.position == {"labeled": 32}
    torch.testing.assert_close(parameters(engine), parameters(whole))
    for number in (2, 4):
        assert engine.recorder.logs[number] == pytest.approx(whole.recorder.logs[number], rel=1e-4)
    assert engine.recorder.evaluations == whole.recorder.evaluations


def test_what_a_failed_step_did_is_taken_back(make_engine) -> None:
    """Its first batch went through before the second one did not."""
    whole = make_engine(max_steps=1, batch_size=4, accumulate=2, unlabeled_batch_size=4)
    whole.fit()
    engine = make_engine(max_steps=1, batch_size=4, accumulate=2, unlabeled_batch_size=4, auto_batch=True)
    forward, calls = engine.method.forward, []

    def second_fails(batch: Any, step: int) -> Any:
        calls.append(len(batch.image))
        if len(calls) == 2:
            raise torch.OutOfMemoryError(CUDA)
        return forward(batch, step)

    engine.method.forward = second_fails
    engine.fit()
    assert calls == [4, 4, 2, 2, 2, 2]
    torch.testing.assert_close(parameters(engine), parameters(whole))
    assert engine.recorder.logs[1]["loss/ce"] == pytest.approx(whole.recorder.logs[1]["loss/ce"], rel=1e-5)


def test_the_count_of_unreadable_patches_goes_on_with_the_smaller_batches(make_engine) -> None:
    engine = make_engine(max_steps=3, batch_size=4, unlabeled_batch_size=4, auto_batch=True)
    start = engine._train_step

    def train_step(stream: Any) -> None:
        if engine.step == 1:
            engine._train_step = start
            room_for(engine, 2)
        start(stream)
        stream.skipped += 3

    engine._train_step = train_step
    engine.fit()
    assert engine.recorder.splits == [(1, 2, 2)] and engine.stream.skipped == 3


@pytest.mark.parametrize(
    ("labeler", "sizes"), [(SoftmaxThreshold(0.0, start_step=0), (4, 4, 2)), (NoPseudoLabels(), (4, 8, 2))]
)
def test_a_resumed_run_goes_on_with_the_smaller_batches_bit_for_bit(make_engine, labeler, sizes) -> None:
    settings: dict[str, Any] = {"batch_size": 8, "auto_batch": True, "max_steps": 6, "save_every": 3, "log_every": 2}
    engines = [make_engine(copy.deepcopy(labeler), ema_decay=0.9, **settings) for _ in range(2)]
    for engine in engines:
        room_for(engine, 4)
    unbroken, resumed = engines
    unbroken.fit()
    path = unbroken.checkpoints.folder / "checkpoint_3.pth"
    resumed.load_state_dict(files.load(path), path)
    assert (resumed.trainer.batch_size, resumed.trainer.unlabeled_batch_size, resumed.trainer.accumulate) == sizes
    resumed.fit()
    assert resumed.recorder.splits == []
    assert resumed.recorder.logs == {step: unbroken.recorder.logs[step] for step in (4, 6)}
    assert all(map(torch.equal, parameters(resumed), parameters(unbroken)))


@pytest.mark.parametrize(
    "settings",
    [{"auto_batch": False}, {"auto_batch": True, "accumulate": 2}, {"auto_batch": True, "unlabeled_batch_size": 16}],
)
def test_batches_given_anew_are_not_replaced_by_those_of_the_checkpoint(make_engine, settings, tmp_path) -> None:
    saved = make_engine(batch_size=4, unlabeled_batch_size=4, accumulate=2, auto_batch=True).state_dict()
    engine = make_engine(batch_size=8, **settings)
    engine.load_state_dict(saved, tmp_path / "x.pth")
    assert engine.trainer.batch_size == 8


@pytest.mark.parametrize(
    ("sizes", "fits", "smaller", "kept"),
    [
        ((8, 8), 2, (2, 2, 4), True),
        ((8, 4), 2, (2, 2, 4), False),  # 2 and 1 would be a batch of one
        ((9, 9), 4, (3, 3, 3), True),
        ((5, 5), 2, (1, 2, 3), False),
        ((12, 10), 3, (3, 2, 4), False),
    ],
)
def test_smaller_batches_keep_the_images_of_a_step_or_do_not_say_so(sizes, fits, smaller, kept: bool) -> None:
    trainer = TrainerConfig(max_steps=1, batch_size=sizes[0], unlabeled_batch_size=sizes[1])
    words = "trainer.batch_size={} trainer.unlabeled_batch_size={} trainer.accumulate={}"
    assert memory._smaller(trainer, fits) == (words.format(*smaller), kept)


def test_a_checkpoint_in_a_folder_with_a_blank_can_be_pasted() -> None:
    error = memory.out_of_memory(3, TrainerConfig(max_steps=9), None, (Path("my runs/a.pth"), 2), {})
    assert str(error).endswith("""Continue with "restore_from='my runs/a.pth'" (iteration 2).""")


def test_an_error_tells_what_fits_and_what_else_helps(make_engine) -> None:
    engine = make_engine(max_steps=4, batch_size=8, crop_size=256, save_latest_every=1)
    engine.config = {"aug": {"size_max": None}, "model": {"output_stride": 8}}
    step = engine._train_step
    engine._train_step = lambda stream: (room_for(engine, 3) if engine.step == 2 else None, step(stream))
    with pytest.raises(SemisegError) as raised:
        engine.fit()
    assert str(raised.value) == (
        "Out of memory at step 2 with trainer.batch_size=8 trainer.unlabeled_batch_size=8 trainer.crop_size=256. "
        "The first 2 images of this batch fitted in a trial, so that many should, if other batches are no larger. "
        "Use trainer.batch_size=2 trainer.unlabeled_batch_size=2 trainer.accumulate=4, which keeps the images of a "
        "step, or trainer.auto_batch=true, which halves the batches when needed. "
        "Other ways: trainer.crop_size=192, aug.size_max=320, model.output_stride=16. "
        f"Continue with restore_from={engine.checkpoints.latest} (iteration 2)."
    )
    assert engine.stream.closed


@pytest.mark.parametrize(("room", "smallest"), [(0, 1), (1, 2)])
def test_nothing_is_promised_where_nothing_fitted(make_engine, room: int, smallest: int) -> None:
    engine = make_engine(batch_size=4)
    room_for(engine, room, smallest)
    with pytest.raises(SemisegError, match="No smaller part of this batch could be shown to fit"):
        engine.fit()


def test_automatic_batches_end_at_two_images(make_engine) -> None:
    engine = make_engine(batch_size=4, auto_batch=True)
    room_for(engine, 1)
    with pytest.raises(SemisegError, match=r"trainer\.batch_size=2 .*The first 1 images .*trainer\.accumulate=4"):
        engine.fit()
    assert engine.recorder.splits == [(0, 2, 2)]


def test_an_optimiser_that_runs_out_of_memory_is_not_tried_again(make_engine, monkeypatch) -> None:
    """Some of the weights may have moved already."""
    engine = make_engine(batch_size=4, auto_batch=True)

    def fails() -> None:
        raise torch.OutOfMemoryError(CUDA)

    monkeypatch.setattr(engine.optimizers["student"], "step", fails)
    with pytest.raises(SemisegError, match="Out of memory at step 0"):
        engine.fit()
    assert engine.recorder.splits == []


def test_other_errors_stay_what_they_are(make_engine) -> None:
    engine = make_engine(auto_batch=True)
    engine.method.forward = lambda *_: math.sqrt(-1)
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        engine.fit()


def test_an_evaluation_has_a_setting_of_its_own(make_engine) -> None:
    engine = make_engine(max_steps=2, eval_every=1)
    engine.evaluate = lambda network: torch.empty(2**60)
    with pytest.raises(SemisegError, match=r"evaluation at step 1 .*eval_batch_size=16.*trainer\.eval_batch_size=8"):
        engine.fit()


def test_frames_of_the_error_hold_no_tensors() -> None:
    """Otherwise the smaller batch would find the larger one's memory still taken."""
    kept: list[Any] = []

    class Large:
        def __del__(self) -> None:
            kept.append("freed")

    def step() -> None:
        large = Large()
        assert large
        raise RuntimeError(CUDA)

    try:
        step()
    except RuntimeError as error:
        memory.release(error, torch.device("cpu"))
        assert kept == ["freed"]


@pytest.mark.parametrize(
    ("settings", "config", "expected"),
    [
        ({"crop_size": 64}, {}, []),
        ({"crop_size": 256}, {"aug": {"size_max": 320}}, ["trainer.crop_size=192"]),
        ({"crop_size": 512, "precision": "fp32"}, {}, ["trainer.crop_size=384", "trainer.precision=auto"]),
    ],
)
def test_only_what_would_change_something_is_named(settings, config, expected) -> None:
    assert memory.less_memory(trainer(**settings), config) == expected


def test_parts_of_a_batch_keep_its_proportions() -> None:
    from semiseg.contracts import Batch

    batch = Batch(torch.zeros(8, 3, 4, 4), torch.zeros(8, 4, 4), unlabeled=torch.zeros(4, 3, 4, 4))
    tried: list[SimpleNamespace] = []

    def fits(part: Batch) -> bool:
        assert part.unlabeled is not None
        tried.append(SimpleNamespace(labeled=len(part.image), unlabeled=len(part.unlabeled)))
        return False

    assert memory.size_that_fits(batch, fits) is None
    assert [(each.labeled, each.unlabeled) for each in tried] == [(4, 2), (2, 1), (1, 1)]
