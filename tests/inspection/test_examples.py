from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from semiseg.inspection.examples import OF_A_CLASS, class_examples, contact_sheet
from semiseg.inspection.figures import Inspection
from semiseg.inspection.sheet import WIDTH

MakeInspection = Callable[..., Inspection]


def test_examples_show_their_class_and_come_from_two_sources(make_inspection: MakeInspection) -> None:
    inspection = make_inspection()
    train = set(inspection.bundle.pools.train.tolist())
    for number in range(7):
        rows = class_examples(inspection, number, set())
        patches = inspection.scan.patches[rows]
        assert len(rows) == OF_A_CLASS and set(patches.tolist()) <= train
        assert (inspection.scan.pixels[rows, number] > 0).all()
        assert len(np.unique(inspection.bundle.index.source_id[patches])) == OF_A_CLASS


def test_the_clearest_patch_stands_first_and_is_not_used_twice(
    make_inspection: MakeInspection, salak_root: Path
) -> None:
    for path in salak_root.glob("*/masks/*.png"):
        cv2.imwrite(str(path), np.zeros((32, 32), dtype=np.uint8))
    inspection = make_inspection()
    train = inspection.bundle.pools.train[:3].tolist()
    for patch, rows in zip(train, (32, 13, 2), strict=True):  # all, 40 % and 6 % of the patch are water
        mask = np.zeros((32, 32), dtype=np.uint8)
        mask[:rows] = 1
        cv2.imwrite(str(inspection.bundle.index.mask_path(patch)), mask)
    inspection = make_inspection()
    assert inspection.scan.patches[class_examples(inspection, 1, set())[0]] == train[1]
    assert inspection.scan.patches[class_examples(inspection, 1, {train[1]})[0]] == train[2]
    water = [class_examples(inspection, 1, set())[0], *class_examples(inspection, 1, set(range(24)))]
    assert inspection.scan.patches[water].tolist() == [train[1], train[1], train[2]]  # better twice than not at all
    assert class_examples(inspection, 6, set()) == []


def test_the_sheet_of_a_set_with_broken_files_shows_the_others(
    make_inspection: MakeInspection, salak_root: Path
) -> None:
    whole = contact_sheet(make_inspection())
    assert whole.shape[1] == WIDTH and len(whole) > 1000
    assert (whole != 255).any(axis=-1).mean() > 0.3
    for path in salak_root.glob("*/images/[abcd]_*.png"):
        path.write_bytes(b"broken")
    assert len(contact_sheet(make_inspection())) < len(whole)
