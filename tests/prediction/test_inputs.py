from __future__ import annotations

import os
from pathlib import Path

import cv2
import pytest

from semiseg.prediction.inputs import find_items


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_folder_is_walked_once_whatever_links_lead_to_it(tmp_path: Path, picture):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.png"):
        cv2.imwrite(str(tmp_path / "in" / name), picture)
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "deep" / "up").symlink_to(tmp_path / "in" / "deep")
    assert [item.name for item in find_items(tmp_path / "in", tmp_path / "out")] == ["a", "deep/b"]
