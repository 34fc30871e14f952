"""Files that change and workers that die while a training reads them."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tests.end_to_end.conftest import SIDE, Workplace
from torch import nn
from torch.utils.data import Dataset

from semiseg.aug import RandomCrop
from semiseg.contracts import Batch
from semiseg.data import dataset as reading
from semiseg.data import index as indexing
from semiseg.data.batches import BatchStream
from semiseg.data.build import DataBundle, build_data
from semiseg.data.config import DataConfig
from semiseg.data.dataset import PatchReader, Sample, collate
from semiseg.data.index import PatchIndex
from semiseg.data.layouts.salak import SalakLayout
from semiseg.data.loader import SampleLoader
from semiseg.data.stream import Stream
from semiseg.data.workers import failure_of, init_worker
from semiseg.errors import DataError, SemisegError
from semiseg.samples import predict_examples

PATCH = "salak-1-1/images/east_1_patch_0_0.png"  # labelled
FLIPS = 200
forks = pytest.mark.skipif(sys.platform != "linux", reason="workers are not forked here")


@pytest.fixture
def make_bundle(place: Workplace) -> Callable[..., DataBundle]:
    """The data of `place`, with any setting of `DataConfig` replaced: 8 labelled, 8 held out, 12 unlabelled patches."""

    def make(**settings) -> DataBundle:
        lists = {"labeled_list": str(place.data / "labeled.txt"), "val_list": str(place.data / "val.txt")}
        cache = str(place.path / "cache")
        return build_data(DataConfig(root=str(place.data), layout=SalakLayout(), cache_dir=cache, **lists, **settings))

    return make


def stream_of(bundle: DataBundle, **settings) -> BatchStream:
    defaults = {"crop_size": 32, "batch_size": 2, "unlabeled_batch_size": 3, "seed": 0, "device": torch.device("cpu")}
    return BatchStream(bundle, RandomCrop(flip=True), **(defaults | settings))


def assert_same(got: list[Batch], expected: list[Batch]) -> None:
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        for name, tensor in vars(one).items():
            torch.testing.assert_close(tensor, getattr(other, name), rtol=0, atol=0)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def resize(path: Path, side: int) -> None:
    cv2.imwrite(str(path), np.zeros((side, side, 3), dtype=np.uint8))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "emptied": lambda path: path.write_bytes(b""),
    "cut": cut,
    "replaced by text": lambda path: path.write_text("gone", encoding="utf-8"),
    "replaced by a folder": make_folder,
    "replaced by another size": partial(resize, side=40),
}


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_damaged_during_the_run_stops_it_and_is_named(
    place: Workplace, make_bundle: Callable[..., DataBundle], damage: str, num_workers: int
) -> None:
    if num_workers and damage not in ("deleted", "cut"):
        pytest.skip("as without workers: tested with two kinds of damage")
    stream = stream_of(make_bundle(), num_workers=num_workers)
    assert len(list(islice(stream, 2))) == 2
    DAMAGES[damage](place.data / PATCH)
    with pytest.raises(DataError) as error:
        list(islice(stream, 20))  # several times through the eight patches
    stream.close()
    assert str(place.data / PATCH) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("damage", DAMAGES)
def test_on_demand_it_is_passed_over_and_named_once(
    place: Workplace, make_bundle: Callable[..., DataBundle], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    stream = stream_of(make_bundle(on_error="skip"))
    list(islice(stream, 2))
    DAMAGES[damage](place.data / PATCH)
    with caplog.at_level(logging.WARNING):
        batches = list(islice(stream, 20))
    assert all(batch.image.shape == (2, 3, 32, 32) for batch in batches)
    assert stream.skipped >= 4  # once an epoch of eight patches, and where another broke off
    named = [record for record in caplog.records if str(place.data / PATCH) in record.getMessage()]
    assert len(named) == 1 and "passed over an unreadable patch" in named[0].getMessage()


def test_the_warning_names_the_mask_where_that_is_broken(
    place: Workplace, make_bundle: Callable[..., DataBundle], caplog: pytest.LogCaptureFixture
) -> None:
    mask = place.data / PATCH.replace("images", "masks")
    cv2.imwrite(str(mask), np.full((SIDE, SIDE), 9, dtype=np.uint8))
    with caplog.at_level(logging.WARNING):
        list(islice(stream_of(make_bundle(on_error="skip")), 5))
    assert f"{mask}: class id 9 is unknown" in caplog.text


def test_a_larger_pair_that_takes_the_place_of_another_is_read(
    place: Workplace, make_bundle: Callable[..., DataBundle]
) -> None:
    bundle = make_bundle()
    reader = PatchReader(bundle.index, bundle.classes, with_masks=True)
    rng = np.random.default_rng(5)
    image, mask = rng.integers(256, size=(70, 90, 3), dtype=np.uint8), rng.integers(3, size=(70, 90), dtype=np.uint8)
    cv2.imwrite(str(place.data / PATCH), image[..., ::-1])
    cv2.imwrite(str(place.data / PATCH.replace("images", "masks")), mask)
    patch = next(p for p in range(len(bundle.index)) if bundle.index.image_path(p) == place.data / PATCH)
    for got, expected in zip(reader.read(patch), (image, mask), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert len(list(islice(stream_of(bundle), 12))) == 12


def test_a_file_without_permission_is_named(place: Workplace, make_bundle: Callable[..., DataBundle]) -> None:
    stream = stream_of(make_bundle())
    next(stream)
    (place.data / PATCH).chmod(0)
    if os.access(place.data / PATCH, os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(DataError, match=r"cannot be read: Permission denied"):
        list(islice(stream, 20))


@pytest.mark.parametrize("stop", range(1, 10))
def test_a_resumed_run_counts_no_skipped_file_twice(
    place: Workplace, make_bundle: Callable[..., DataBundle], stop: int
) -> None:
    """The batch ahead is prepared before the stop and again after the resumption."""
    (place.data / PATCH).write_bytes(b"")
    bundle = make_bundle(on_error="skip")
    whole = stream_of(bundle)
    batches = list(islice(whole, 10))
    first = stream_of(bundle)
    head = list(islice(first, stop))
    second = stream_of(bundle, start=first.position)
    tail = list(islice(second, 10 - stop))
    assert_same(head + tail, batches)
    assert first.skipped + second.skipped == whole.skipped > 0


def test_any_number_of_workers_gives_the_same_batches(place: Workplace, make_bundle: Callable[..., DataBundle]) -> None:
    """Three pools, hidden masks and a broken file: bit for bit the same, whoever reads it."""
    (place.data / PATCH).write_bytes(b"broken")
    bundle = make_bundle(on_error="skip")

    def taken(num_workers: int) -> tuple[list[Batch], int, dict]:
        stream = stream_of(bundle, num_workers=num_workers, needs_unlabeled=True, needs_real=True)
        batches = list(islice(stream, 7))
        stream.close()
        return batches, stream.skipped, stream.position

    expected, skipped, position = taken(0)
    assert skipped > 0
    for num_workers in (1, 6):  # one each, and two
        batches, *rest = taken(num_workers)
        assert_same(batches, expected)
        assert rest == [skipped, position]


def test_pictures_of_a_finished_run_do_without_a_file_that_is_gone(
    place: Workplace, make_bundle: Callable[..., DataBundle]
) -> None:
    bundle = make_bundle()
    bundle.index.image_path(int(bundle.pools.val[0])).unlink()
    examples = predict_examples(nn.Conv2d(3, 3, 1), bundle, torch.device("cpu"), count=4)
    assert not examples.image[0].any() and (examples.truth[0] == 255).all()
    assert examples.image[1].any() and (examples.truth[1] != 255).any()


# Worker processes that die


@pytest.fixture
def no_workers_left() -> Iterator[None]:
    """An error that a test looks at keeps its frames, and these the workers."""
    yield
    gc.collect()
    assert wait_for_the_end()


class Deadly(Dataset):
    """Samples of a number each; at 5 the worker dies in a way of its own."""

    def __init__(self, death: Callable[[], object]) -> None:
        self.death = death

    def __len__(self) -> int:
        return 12

    def __getitem__(self, entry: int) -> Sample:
        if entry == 5:
            self.death()
        image = torch.full((3, 4, 4), entry, dtype=torch.uint8)
        return Sample(image, image[0], torch.zeros(0, dtype=torch.int64))


def kill_self(name: str) -> None:
    os.kill(os.getpid(), getattr(signal, name))
    time.sleep(60)


def fail_with(text: str) -> None:
    raise RuntimeError(text)


def live() -> None:
    """Die not at all."""


def loader_of(death: Callable[[], object], num_workers: int = 2, start: str | None = None) -> SampleLoader:
    return SampleLoader(
        Deadly(death),
        batch_size=2,
        collate_fn=collate,
        num_workers=num_workers,
        worker_init_fn=init_worker,
        multiprocessing_context=start,
    )


KILLED = "was killed, by the system because memory ran out"
DEATHS = {
    "exit": (partial(os._exit, 3), "ended with status 3"),
    "killed": (partial(kill_self, "SIGKILL"), KILLED),
    "no shared memory": (partial(kill_self, "SIGBUS"), "--shm-size=8g"),
    "full shared memory": (
        partial(fail_with, "unable to allocate shared memory(shm) for file </torch_7_8>: No space left on device (28)"),
        "--shm-size=8g",
    ),
    "files": (partial(fail_with, "received 0 items of ancdata"), "ulimit -n"),
    "memory": (partial(fail_with, "[Errno 12] Cannot allocate memory"), "smaller trainer.batch_size"),
}


@forks
@pytest.mark.parametrize("death", DEATHS)
def test_a_worker_that_dies_ends_the_loading_with_the_cause(death: str, capfd: pytest.CaptureFixture[str]) -> None:
    how, expected = DEATHS[death]
    with pytest.raises(SemisegError) as error:
        list(loader_of(how))
    text = str(error.value)
    assert expected in text and "trainer.num_workers=0" in text and "\n" not in text
    assert wait_for_the_end(), "the other workers go on"


def wait_for_the_end() -> bool:
    """Whether all workers end within seconds."""
    for child in multiprocessing.active_children():
        child.join(15)
    return not multiprocessing.active_children()


def test_a_spawned_worker_that_dies_does_so_too() -> None:
    with pytest.raises(SemisegError, match=r"A loader worker .* ended with status 3"):
        list(loader_of(partial(os._exit, 3), num_workers=1, start="spawn"))


class Unreadable:
    """Ends the process that unpickles it, as an import of PyTorch does that finds no memory."""

    def __reduce__(self) -> tuple[Callable[[int], object], tuple[int]]:
        return os._exit, (4,)


class LargeAndUnreadable(Dataset[Sample]):
    """Reads nothing: nobody gets that far."""

    def __init__(self) -> None:
        self.cause = Unreadable()  # before what is large
        self.index, self.stream = index_of(100_000), Stream(np.arange(100_000), 0, 0)

    def __len__(self) -> int:
        return 4


def index_of(count: int) -> PatchIndex:
    numbers = np.arange(count, dtype=np.int32)
    stems = np.char.mod("a patch with a name of some length %06d", numbers).astype(bytes)
    return PatchIndex(Path("x"), ["s"], 0 * numbers, np.zeros(count, np.int8), stems, [("", "")], 0 * numbers, -numbers)


def test_a_spawned_worker_that_dies_before_it_has_read_its_dataset_does_not_hold_up_the_run() -> None:
    with pytest.raises(SemisegError, match=r"A loader worker .* ended with status 4"):
        list(SampleLoader(LargeAndUnreadable(), num_workers=1, multiprocessing_context="spawn"))


def test_a_paging_file_that_is_too_small_is_memory_that_ran_out() -> None:
    refused = OSError(22, "Die Auslagerungsdatei ist zu klein")
    refused.winerror = 1455  # type: ignore[attr-defined]  (Windows has it)
    handed_over = RuntimeError("Couldn't open shared file mapping: <torch_7_8>, error code: <1455>")
    for error in (refused, handed_over):
        assert "Memory ran out for the loader workers" in str(failure_of((), error))


def test_a_worker_that_just_ended_ran_out_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on Windows, which knows neither SIGBUS nor SIGKILL."""
    for name in ("SIGBUS", "SIGKILL"):
        monkeypatch.delattr(signal, name, raising=False)
    ended: Any = SimpleNamespace(pid=12, exitcode=0, join=lambda seconds: None)
    assert "A loader worker (process 12) ended with status 0" in str(failure_of([ended], RuntimeError("gone")))


def test_an_error_of_another_kind_stays_what_it_is(no_workers_left: None) -> None:
    with pytest.raises(ValueError, match="a mistake of the program"):
        list(loader_of(make_a_mistake))
    with pytest.raises(RuntimeError, match="No space left on device"):
        list(loader_of(partial(fail_with, "No space left on device"), num_workers=0))


def make_a_mistake() -> None:
    raise ValueError("a mistake of the program")


@forks
def test_a_death_is_told_where_the_next_batch_is_awaited_and_nowhere_else(no_workers_left: None) -> None:
    """Not by a signal that could break off the writing of a checkpoint."""
    before = signal.getsignal(signal.SIGCHLD)
    batches = iter(loader_of(live, num_workers=1))
    next(batches)
    assert signal.getsignal(signal.SIGCHLD) == before
    (worker,) = multiprocessing.active_children()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(10)
    time.sleep(0.2)
    with pytest.raises(SemisegError, match=KILLED):
        list(batches)


@forks
def test_workers_outlive_the_signals_that_let_a_training_finish_its_step(no_workers_left: None) -> None:
    """Ctrl-C in a terminal and the SIGTERM of a scheduler reach all processes of a run."""
    batches = iter(loader_of(live, num_workers=1))
    seen = next(batches).image[:, 0, 0, 0].tolist()
    for child in multiprocessing.active_children():
        assert child.pid is not None
        os.kill(child.pid, signal.SIGINT)
        os.kill(child.pid, signal.SIGTERM)
    time.sleep(0.2)
    seen += [number for batch in batches for number in batch.image[:, 0, 0, 0].tolist()]
    assert seen == list(range(12))


@forks
def test_a_training_whose_worker_is_killed_ends_with_one_message(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    main, read_image = os.getpid(), reading.read_image

    def read(path: Path) -> np.ndarray:
        if os.getpid() != main and path.name == Path(PATCH).name:
            os.kill(os.getpid(), signal.SIGKILL)
        return read_image(path)

    monkeypatch.setattr(reading, "read_image", read)
    assert place.train_small("name=run", "trainer.num_workers=2", "trainer.max_steps=6") == 1
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("semiseg: ")] == lines[-1:]
    assert KILLED in lines[-1] and "Traceback" not in "".join(lines)
    assert place.run("run").summary()["status"] == "failed"


# The list of files


def names(bundle: DataBundle) -> set[str]:
    return {bundle.index.image_path(patch).name for patch in range(len(bundle.index))}


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the list of files that was made a moment ago."""
    monkeypatch.setattr(indexing, "CLOCK_TICK", -1.0)


CHANGES: dict[str, Callable[[Path], object]] = {
    "an image added": lambda root: copy(root / PATCH, "east_9_patch_0_0.png"),
    "an image removed": lambda root: (root / "salak-2-2/images/south_1_patch_0_0.png").unlink(),
    "a mask removed": lambda root: (root / PATCH.replace("images", "masks")).unlink(),
    "an image renamed": lambda root: (root / "salak-2-2/images/south_1_patch_0_0.png").rename(
        root / "salak-2-2/images/south_2_patch_0_0.png"
    ),
    "another suffix": lambda root: (root / PATCH).rename((root / PATCH).with_suffix(".jpg")),
    "a flight added": lambda root: copy_flight(root, "salak-9-9"),
    "a flight removed": lambda root: (root / "salak-2-2").rename(root.parent / "gone"),
    "folders swapped": lambda root: swap(root / "salak-2-1/images", root / "salak-2-2/images"),
}


def copy(path: Path, name: str) -> None:
    path.with_name(name).write_bytes(path.read_bytes())


def copy_flight(root: Path, name: str) -> None:
    (root / name / "images").mkdir(parents=True)
    (root / name / "images" / "new_1_patch_0_0.png").write_bytes((root / PATCH).read_bytes())


def swap(one: Path, other: Path) -> None:
    """Masks are moved away, so that the images may lie anywhere."""
    for masks in (one.parent / "masks", other.parent / "masks"):
        masks.rename(masks.with_name("away"))
    one.rename(one.with_name("aside"))
    other.rename(one)
    one.with_name("aside").rename(other)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("times_set_back", [False, True])
def test_the_cached_list_follows_every_change(
    place: Workplace, make_bundle: Callable[..., DataBundle], cached: None, change: str, times_set_back: bool
) -> None:
    """Also where a copying program sets the folders' times back to those of before."""
    if times_set_back and os.name == "nt":
        pytest.skip("Windows keeps no time of change")
    settings = {"val_split": 0.3}
    before = make_bundle(**settings)
    times = {path: path.stat().st_mtime_ns for path in [place.data, *place.data.rglob("*")] if path.is_dir()}
    time.sleep(0.02)
    CHANGES[change](place.data)
    for path, stamp in times.items():
        if times_set_back and path.is_dir():
            os.utime(path, ns=(stamp, stamp))
    after = make_bundle(**settings)
    assert after.index.fingerprint() == SalakLayout().scan(place.data).fingerprint() != before.index.fingerprint()
    assert all(after.index.image_path(patch).is_file() for patch in range(len(after.index)))


def test_a_list_made_right_after_a_change_is_not_kept(place: Workplace, make_bundle: Callable[..., DataBundle]) -> None:
    """The next file could come within the same tick of the file system's clock."""
    make_bundle()
    assert not list((place.path / "cache").glob("index-*"))
    copy(place.data / PATCH, "east_9_patch_0_0.png")
    assert "east_9_patch_0_0.png" in names(make_bundle())


def test_changed_bytes_in_the_cached_list_never_change_the_list(
    place: Workplace, make_bundle: Callable[..., DataBundle], cached: None
) -> None:
    expected = make_bundle().index.fingerprint()
    (file,) = (place.path / "cache").glob("index-*")
    content, rng = file.read_bytes(), np.random.default_rng(0)
    for _ in range(FLIPS):
        damaged = bytearray(content)
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        file.write_bytes(damaged[: rng.integers(len(damaged))] if rng.random() < 0.1 else damaged)
        assert make_bundle().index.fingerprint() == expected
