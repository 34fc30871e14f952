import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from semiseg.data.demo import write
from semiseg.data.demo.scene import Scene
from semiseg.data.demo.write import CLASSES, DemoSet, ensure
from semiseg.errors import ConfigError, DataError

SMALL = DemoSet(flights=5, labeled_flights=2, val_flights=2, scene_size=(384, 512), patch_size=128, seed=0)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "set"
    ensure(root, SMALL)
    return root


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Scenes of one colour in no time; the list holds the seeds drawn."""
    seeds: list[tuple[int, ...]] = []

    def flat_scene(seed: tuple[int, ...], shape: tuple[int, int], water: bool, farm: bool) -> Scene:
        seeds.append(seed)
        return Scene(np.full((*shape, 3), seed[0], np.uint8), np.zeros(shape, np.uint8), 90)

    monkeypatch.setattr(write, "draw_scene", flat_scene)
    return seeds


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_layout_is_that_of_salak(drawn: Path) -> None:
    names = files(drawn)
    patches = [f"flight01_patch_{row:03d}_{column:03d}" for row in range(3) for column in range(4)]
    assert [n for n in names if n.startswith("demo-01/images/")] == [f"demo-01/images/{p}.jpg" for p in patches]
    assert [n for n in names if n.startswith("demo-01/masks/")] == [f"demo-01/masks/{p}.png" for p in patches]
    assert len(names) == 5 * 2 * 12 + 4
    assert (drawn / "labeled.txt").read_text().split() == ["flight01", "flight02"]
    assert (drawn / "val.txt").read_text().split() == ["flight03", "flight04"]
    assert (drawn / "class_mapping.csv").read_text().splitlines()[2] == "Badan Air,30 100 220"


@pytest.mark.parametrize("part", ["labeled.txt", "val.txt"])
def test_every_class_can_be_learnt_and_measured(drawn: Path, part: str) -> None:
    counts = np.zeros(256, np.int64)
    for source in (drawn / part).read_text().split():
        for path in drawn.glob(f"demo-*/masks/{source}_patch_*.png"):
            mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert mask is not None
            assert mask.shape == (128, 128)
            counts += np.bincount(mask.ravel(), minlength=256)
    assert (counts[: len(CLASSES)] > 0).all()
    assert counts[len(CLASSES) :].sum() == 0


def test_patches_are_the_scene_cut_up(drawn: Path) -> None:
    scene = write.draw_scene((0, 1), (384, 512), water=True, farm=False)
    mask = cv2.imread(str(drawn / "demo-02/masks/flight02_patch_001_002.png"), cv2.IMREAD_UNCHANGED)
    image = cv2.imread(str(drawn / "demo-02/images/flight02_patch_001_002.jpg"))
    assert image is not None
    np.testing.assert_array_equal(mask, scene.mask[128:256, 256:384])
    assert np.abs(image[..., ::-1].astype(int) - scene.image[128:256, 256:384]).mean() < 8


def test_drawn_once_and_again_when_settings_change(tmp_path: Path, quick: list[tuple[int, ...]]) -> None:
    root = tmp_path / "set"
    ensure(root, SMALL)
    ensure(root, SMALL)
    assert quick == [(0, flight) for flight in range(5)]
    ensure(root, replace(SMALL, flights=6, seed=9))
    assert quick[5:] == [(9, flight) for flight in range(6)]
    assert len(list(root.glob("demo-*"))) == 6


def test_interruption_leaves_no_half_set(
    tmp_path: Path, quick: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure(tmp_path / "set", SMALL)
    before = files(tmp_path / "set")
    draw = write.draw_scene

    def draw_two(seed: tuple[int, ...], *args: object, **kwargs: bool) -> Scene:
        if seed[1] == 2:
            raise KeyboardInterrupt
        return draw(seed, (384, 512), **kwargs)

    monkeypatch.setattr(write, "draw_scene", draw_two)
    for name in ("set", "new"):
        with pytest.raises(KeyboardInterrupt):
            ensure(tmp_path / name, replace(SMALL, patch_size=64))
    assert files(tmp_path / "set") == before
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["set"]


def test_leftovers_of_a_killed_process_are_cleared(tmp_path: Path, quick: list[tuple[int, ...]]) -> None:
    (tmp_path / "set.partial" / "demo-01" / "images").mkdir(parents=True)
    ensure(tmp_path / "set", SMALL)
    assert len(list((tmp_path / "set").glob("demo-*/images/*.jpg"))) == 5 * 12
    assert not (tmp_path / "set.partial").exists()


def test_processes_that_start_together_draw_once(tmp_path: Path, quick: list[tuple[int, ...]]) -> None:
    threads = [threading.Thread(target=ensure, args=(tmp_path / "set", SMALL)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(quick) == 5


def test_a_folder_of_other_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match=r"no set of demo scenes.*data\.root=PATH"):
        ensure(tmp_path, SMALL)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written there"):
        ensure(tmp_path / "file" / "set", SMALL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scene_size": (400, 512)}, "400x512"),
        ({"scene_size": (128, 128)}, "384x512"),
        ({"labeled_flights": 1}, "1 labelled"),
        ({"flights": 4}, "4 flights"),
    ],
)
def test_impossible_sets_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **changes)
