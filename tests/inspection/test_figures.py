import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from semiseg.data.frequency import balanced_weights
from semiseg.files import json_ready
from semiseg.inspection.figures import Inspection

MakeInspection = Callable[..., Inspection]


@pytest.fixture
def lists(tmp_path: Path) -> dict[str, str]:
    """Sources a, b and c are labelled; d validates."""
    (tmp_path / "labeled.txt").write_text("a\nb\nc\n")
    (tmp_path / "val.txt").write_text("d\n")
    return {"labeled_list": str(tmp_path / "labeled.txt"), "val_list": str(tmp_path / "val.txt")}


def masks_of(root: Path, sources: str) -> np.ndarray:
    """Masks of ids, [N, 32, 32], read without the project's code."""
    paths = sorted(path for path in root.glob("*/masks/*.png") if path.name[0] in sources)
    return np.stack([np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)) for path in paths])


def test_patches_and_sources_of_each_pool(make_inspection: MakeInspection, lists: dict[str, str]) -> None:
    assert make_inspection(**lists).pools == {
        "images": (24, 6),
        "masks": (16, 4),
        "labelled": (16, 4),
        "train": (12, 3),
        "val": (4, 1),
        "unlabelled": (8, 2),
        "unlabelled with a hidden mask": (0, 0),
        "not used": (0, 0),
    }


def test_class_frequencies_are_those_of_the_training_masks(
    make_inspection: MakeInspection, salak_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "labeled.txt").write_text("a\nb\n")
    (tmp_path / "val.txt").write_text("d\n")
    inspection = make_inspection(labeled_list=str(tmp_path / "labeled.txt"), val_list=str(tmp_path / "val.txt"))
    for frequency, sources in ((inspection.train, "ab"), (inspection.val, "d")):
        masks = masks_of(salak_root, sources)
        ids = [0, 1, 2, 3, 4, 5, 6, 255]
        assert frequency.pixels.tolist() == [(masks == number).sum() for number in ids]
        assert frequency.patches.tolist() == [(masks == number).any(axis=(1, 2)).sum() for number in ids]
        shares = [(masks == number).sum() / (masks != 255).sum() for number in ids[:-1]]
        assert np.allclose(frequency.share, [*shares, (masks == 255).mean()])
    assert np.allclose(inspection.weights, balanced_weights(inspection.bundle.counts()))


def test_unreadable_masks_only_are_no_division_by_zero(
    make_inspection: MakeInspection, salak_root: Path, lists: dict[str, str]
) -> None:
    for path in salak_root.glob("*/masks/*.png"):
        path.write_bytes(b"")
    inspection = make_inspection(**lists)
    assert inspection.weights.tolist() == [0.0] * 7 and inspection.train.share.tolist() == [0.0] * 8
    assert len(inspection.scan.problems) == 16


def test_what_was_looked_at_counts_the_sample(make_inspection: MakeInspection, lists: dict[str, str]) -> None:
    assert make_inspection(sample=3, **lists).looked_at == {"labelled": 16, "unlabelled": 3}
    assert make_inspection(**lists).looked_at == {"labelled": 16, "unlabelled": 8}


def test_sources_on_both_sides(make_inspection: MakeInspection) -> None:
    assert make_inspection().shared_sources == []
    inspection = make_inspection(split_by="patch", val_split=0.5)
    sides = [
        {inspection.bundle.index.name(patch).split("/")[-1][0] for patch in pool}
        for pool in (inspection.bundle.pools.train, inspection.bundle.pools.val)
    ]
    assert inspection.shared_sources == sorted(set.intersection(*sides)) != []
    assert any("both sides of the split" in warning for warning in inspection.warnings)


def test_sizes_and_crop(make_inspection: MakeInspection, salak_root: Path, lists: dict[str, str]) -> None:
    image = np.zeros((24, 40, 3), dtype=np.uint8)
    cv2.imwrite(str(salak_root / "salak-2-1/images/e_patch_000_000.png"), image)
    inspection = make_inspection(crop_size=32, **lists)
    assert inspection.sizes == [(32, 32, 23), (40, 24, 1)]
    assert inspection.smaller_than_crop == 1
    (said,) = (text for text in inspection.warnings if "1 of 24 images are smaller" in text)
    assert said.endswith("aug.pad=true")  # a crop of 24 is none that can be
    larger = make_inspection(crop_size=64, **lists)
    assert larger.smaller_than_crop == 24 and not any("trainer.crop_size=24" in text for text in larger.warnings)
    assert make_inspection(crop_size=24, **lists).smaller_than_crop == 0


def test_a_class_that_no_mask_shows_is_warned_of(
    make_inspection: MakeInspection, salak_root: Path, lists: dict[str, str]
) -> None:
    for path in salak_root.glob("*/masks/d_*.png"):
        cv2.imwrite(str(path), np.full((32, 32), 3, dtype=np.uint8))
    warnings = make_inspection(**lists).warnings
    absent = "background, Badan Air, Bangunan, Pohon Berinang, Snake Fruit, Tanah Terbuka"
    assert warnings == [f"no validation mask shows {absent}"]


def test_figures_hold_everything_as_json(make_inspection: MakeInspection, lists: dict[str, str]) -> None:
    inspection = make_inspection(**lists)
    figures = json.loads(json.dumps(json_ready(inspection.figures())))
    assert figures["fingerprint"] == inspection.bundle.fingerprint()
    assert figures["pools"]["train"] == {"patches": 12, "sources": 3}
    assert [row["name"] for row in figures["classes"]] == list(inspection.bundle.classes.names)
    assert sum(row["train_share"] for row in figures["classes"]) == pytest.approx(1)
    assert figures["classes"][5]["color"] == [128, 255, 0]
    assert figures["ignored"]["train_pixels"] == 12 and figures["ignored"]["val_pixels"] == 4
    assert figures["sizes"] == [{"width": 32, "height": 32, "images": 24}]
    assert figures["problems"] == [] and figures["sources_on_both_sides"] == []
