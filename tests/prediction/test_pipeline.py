"""Batches, holes, sizes and memory, with a toy network and without the verb."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from semiseg.errors import SemisegError
from semiseg.prediction import reading
from semiseg.prediction.images import Picture, Source
from semiseg.prediction.inputs import Item
from semiseg.prediction.mosaic import decide
from semiseg.prediction.pipeline import run_pipeline
from semiseg.prediction.planes import Held, Planes
from semiseg.prediction.reading import Hooks, Job, Tiling

CPU = torch.device("cpu")


class Blank(Source):
    """No data but in a window of noise: an image of any size that takes no memory."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width
        self.noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)

    def read(self, top: int, left: int, height: int, width: int):
        image = np.zeros((height, width, 3), dtype=np.uint8)
        if top == left == 0:
            image[:80, :80] = self.noise
        return image, image.any(axis=-1)

    def thumbnail(self, height: int, width: int):
        raise AssertionError("nobody asked")


class Nowhere(Planes):
    """Forgets what is written."""

    def read(self, plane: int, top: int, bottom: int):
        raise AssertionError("nobody asked")

    def write(self, top: int, strip: np.ndarray) -> None:
        pass


def predict(
    toy, sources: dict[str, Source], tiling: Tiling, planes: Callable[[int, int], Planes] = Held
) -> dict[str, Job]:
    """The finished jobs by name."""
    finished: dict[str, Job] = {}
    hooks = Hooks(
        open=lambda item: sources[item.name],
        planes=lambda job: (planes(job.source.height, job.source.width), 0),
        finish=lambda job: finished.update({job.item.name: job}),
        failed=lambda item, error: pytest.fail(str(error)),
        advance=lambda share, pixels: None,
    )
    run_pipeline(toy, [Item(name, Path(name)) for name in sources], tiling, hooks, CPU, threads=2)
    return finished


def test_images_of_all_sizes_are_each_predicted_as_a_whole(toy, picture):
    sizes = [(64, 64), (70, 64), (64, 64), (150, 210), (80, 66), (64, 64), (150, 210), (64, 65)]
    images = {str(n): picture[:height, :width] for n, (height, width) in enumerate(sizes)}
    found = predict(toy, {name: Picture(image) for name, image in images.items()}, Tiling(64, 16, 2))
    assert found.keys() == images.keys()
    for name, image in images.items():
        planes = found[name].planes
        assert isinstance(planes, Held)
        whole = decide(toy.probabilities(torch.from_numpy(image.copy()).permute(2, 0, 1)[None])[0]).numpy()
        np.testing.assert_array_equal(planes.planes[0], whole[0])


@pytest.mark.parametrize(
    ("batch", "said"),
    [(4, "Call again with batch=2 or less: images"), (1, "Call again with tile=32 overlap=8 and another out=")],
)
def test_memory_that_does_not_suffice_is_told_with_what_to_call_instead(toy, picture, batch: int, said: str):
    toy.probabilities = lambda images: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory."))
    with pytest.raises(SemisegError, match=f"Out of memory with tile=64 batch={batch}. {said}"):
        predict(toy, {"a": Picture(picture)}, Tiling(64, 16, batch))


def test_large_images_behind_small_ones_are_not_all_read_ahead(monkeypatch, tmp_path):
    """By the sizes in their headers: the small ones alone would let any number ahead."""
    sizes = {f"{n}": (40, 40) if n < 10 else (400, 500) for n in range(30)}
    for name, size in sizes.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((*size, 3), dtype=np.uint8))
    monkeypatch.setattr(reading, "READ_AHEAD_BYTES", 4 * 3 * 400 * 500)
    items = [Item(name, tmp_path / f"{name}.png") for name in sizes]
    taken, ahead = 0, []

    def opened(item: Item) -> int:
        ahead.append(int(item.name) - taken)
        return int(item.name)

    with ThreadPoolExecutor(2) as pool:
        for number in reading.prefetched(pool, opened, items, lambda: 64, reading.decoded_bytes):
            assert number == taken
            time.sleep(0.002)
            taken += 1
    assert taken == 30 and max(ahead[:10]) > 5 and max(ahead[14:]) <= 6


def test_batches_are_full_across_images_of_one_size(toy, picture):
    small = {str(n): Picture(picture[:64, :64]) for n in range(19)}
    predict(toy, small, Tiling(tile=128, overlap=16, batch=2))
    assert [shape[0] for shape in toy.batches] == [8, 8, 3]  # a tile holds four of them


def test_small_images_are_mirrored_and_cut_back(toy, picture):
    found = predict(toy, {"a": Picture(picture[:3, :5])}, Tiling())
    assert toy.batches == [(1, 3, 64, 64)]
    planes = found["a"].planes
    assert isinstance(planes, Held) and planes.planes.shape == (2, 3, 5)


def test_tiles_without_data_are_not_computed(toy):
    found = predict(toy, {"a": Blank(500, 400)}, Tiling(128, 32, 4))
    assert toy.batches == [(1, 3, 128, 128)]
    planes = found["a"].planes
    assert isinstance(planes, Held)
    assert (planes.planes[:, 80:] == 255).all() and (planes.planes[0, :80, :80] != 255).mean() > 0.99


def test_memory_does_not_grow_with_the_height_of_an_image(toy):
    """NumPy's part of it; what PyTorch holds is in the test of the mosaic."""
    peaks = {}
    for height in (1_000, 8_000):
        tracemalloc.start()
        predict(toy, {"a": Blank(height, 600)}, Tiling(200, 40, 2), Nowhere)
        peaks[height] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[8_000] < 1.3 * peaks[1_000] < 8_000 * 600
