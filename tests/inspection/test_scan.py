from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from semiseg.data.split import Pools
from semiseg.inspection.figures import Inspection
from semiseg.inspection.scan import BAD_IMAGE, BAD_MASK, BAD_SIZE, BAD_VALUES, Problem, choose_patches

MakeInspection = Callable[..., Inspection]
IMAGE = Path("salak-1-1/images/a_patch_000_000.png")
MASK = Path("salak-1-1/masks/a_patch_000_000.png")


def test_all_labelled_and_a_sample_of_the_unlabelled_are_chosen() -> None:
    pools = Pools(np.arange(10), np.arange(10, 14), np.arange(14, 100))
    chosen = choose_patches(pools, 20, seed=3)
    assert chosen[:14].tolist() == list(range(14))
    assert len(chosen) == len(np.unique(chosen)) == 34
    assert (chosen == np.sort(chosen)).all()
    assert (chosen == choose_patches(pools, 20, seed=3)).all()
    assert (chosen != choose_patches(pools, 20, seed=4)).any()
    assert choose_patches(pools, None, seed=3).tolist() == choose_patches(pools, 500, seed=3).tolist() == [*range(100)]
    assert choose_patches(pools, 0, seed=3).tolist() == list(range(14))


def test_a_clean_set_shows_its_sizes_and_pixels(make_inspection: MakeInspection) -> None:
    scan = make_inspection().scan
    assert scan.problems == [] and scan.sound.all()
    assert scan.size.tolist() == [[32, 32]] * 24
    assert scan.pixels.sum(axis=1).tolist() == [1024] * 16 + [0] * 8  # e and f have no masks
    assert scan.pixels[:16, -1].tolist() == [1] * 16


def damage(path: Path, how: str) -> None:
    """Make a file unusable in one of the ways that occur."""
    pixels = np.zeros((32, 32), dtype=np.uint8)
    pixels[0, :2] = (9, 77)
    colors = np.zeros((32, 32, 3), dtype=np.uint8)
    colors[0, 0] = (3, 2, 1)  # OpenCV writes BGR
    contents = {"ids": pixels, "colours": colors, "size": np.zeros((16, 24), dtype=np.uint8)}
    if how in contents:
        cv2.imwrite(str(path), contents[how])
    elif how == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"empty": b"", "text": b"no image"}[how])


@pytest.mark.parametrize(
    ("file", "how", "kind", "detail"),
    [
        (IMAGE, "text", BAD_IMAGE, "(8 bytes) cannot be decoded"),
        (IMAGE, "folder", BAD_IMAGE, "cannot be read"),
        (MASK, "empty", BAD_MASK, "is empty"),
        (MASK, "text", BAD_MASK, "(8 bytes) cannot be decoded"),
        (MASK, "ids", BAD_VALUES, "class id 9, 77 is unknown"),
        (MASK, "colours", BAD_VALUES, "colour (1 2 3) is unknown"),
        (MASK, "size", BAD_SIZE, "the mask has 24x16 pixels, its image 32x32"),
    ],
)
def test_each_kind_of_problem_is_found_and_named(
    make_inspection: MakeInspection, salak_root: Path, file: Path, how: str, kind: str, detail: str
) -> None:
    damage(salak_root / file, how)
    scan = make_inspection().scan
    assert [(problem.kind, problem.file) for problem in scan.problems] == [(kind, file.as_posix())]
    assert detail in scan.problems[0].detail
    assert "Restore" not in scan.problems[0].detail and str(salak_root) not in scan.problems[0].detail
    assert scan.sound.tolist() == [False] + [True] * 23


def test_problems_of_many_files_are_collected(make_inspection: MakeInspection, salak_root: Path) -> None:
    damage(salak_root / IMAGE, "empty")
    damage(salak_root / MASK, "ids")
    damage(salak_root / "salak-2-1/images/e_patch_000_001.png", "text")
    problems = make_inspection().scan.problems
    assert [problem.kind for problem in problems] == [BAD_IMAGE, BAD_VALUES, BAD_IMAGE]
    assert problems[2] == Problem(
        BAD_IMAGE,
        "salak-2-1/images/e_patch_000_001.png",
        "(8 bytes) cannot be decoded: it is damaged, or no PNG, JPEG, TIFF, BMP or WebP",
    )


def test_hidden_masks_are_looked_at(make_inspection: MakeInspection, salak_root: Path, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("b\nc\n")
    damage(salak_root / MASK, "ids")
    inspection = make_inspection(labeled_list=str(tmp_path / "few.txt"))
    assert [problem.file for problem in inspection.scan.problems] == [MASK.as_posix()]
    assert inspection.pools["unlabelled with a hidden mask"] == (8, 2)
