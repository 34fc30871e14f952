import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from semiseg import files
from semiseg.files import json_ready, write_json


def test_write_json_replaces_the_file_whole(tmp_path):
    path = tmp_path / "summary.json"
    write_json(path, {"old": 1})
    data = {"iou": np.float32(0.5), "classes": np.array([1, 2]), "path": Path("a") / "b", "gap": math.nan, "né": (1,)}
    write_json(path, data)
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "iou": 0.5,
        "classes": [1, 2],
        "path": "a/b",
        "gap": None,
        "né": [1],
    }
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "summary.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"old": 1}


@pytest.mark.skipif(os.name == "nt", reason="Windows file names are always valid Unicode")
def test_a_file_name_that_is_no_unicode_does_not_lose_the_summary(tmp_path):
    name = os.fsdecode(b"caf\xe9.pth")
    write_json(tmp_path / "summary.json", {"best": name})
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["best"] == name


def test_json_ready_leaves_plain_values_alone():
    value = {"a": [1, 2.5, "x", None, True]}
    assert json_ready(value) == value


def test_a_rename_that_a_reader_stands_in_the_way_of_is_tried_again(tmp_path, monkeypatch):
    new, path = tmp_path / "new", tmp_path / "file"
    new.write_text("new")
    path.write_text("old")
    replace, refused = Path.replace, []

    def sometimes(self: Path, target: Path) -> Path:
        if len(refused) < 2:
            refused.append(target)
            raise PermissionError
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", sometimes)
    monkeypatch.setattr(files, "PAUSES", (0, 0, 0))
    files.move_over(new, path)
    assert path.read_text() == "new" and refused == [path, path]
    monkeypatch.setattr(files, "PAUSES", (0,))
    refused.clear()
    with pytest.raises(PermissionError):
        files.move_over(path, new)
