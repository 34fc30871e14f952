import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from semiseg.inspection import train_command, training_overrides
from semiseg.inspection.report import MAX_NAMED

Verb = Callable[..., int]
SMALL_DEMO = ("flights=5", "labeled_flights=2", "val_flights=2", "scene_size=[384,512]", "patch_size=128")


def of(root: Path) -> list[str]:
    return ["data=salak", f"data.root={root.as_posix()}", "trainer.crop_size=32"]


def test_a_clean_set(
    semiseg_inspect: Verb, salak_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert semiseg_inspect(*of(salak_root), "sample=5") == 0
    shown = capsys.readouterr().out
    assert re.search(r"^labelled, looked at +16 of 16 *$", shown, re.MULTILINE)
    assert re.search(r"^unlabelled, looked at +5 of 8 \(sample=null for all\)", shown, re.MULTILINE)
    assert "Pohon Berinang" in shown and "Problem" not in shown
    assert "Next: semiseg train" in shown.splitlines()[-1]
    assert f"data=salak data.root={salak_root.as_posix()} trainer.crop_size=32" in shown.splitlines()[-1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["contact_sheet.png", "inspect.json"]
    figures = json.loads((tmp_path / "out" / "inspect.json").read_text(encoding="utf-8"))
    assert figures["pools"]["images"] == {"patches": 24, "sources": 6}
    sheet = cv2.imread(str(tmp_path / "out" / "contact_sheet.png"))
    assert sheet is not None and sheet.std() > 20


def test_problems_are_listed_and_the_exit_status_tells(
    semiseg_inspect: Verb, salak_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = sorted(salak_root.glob("*/images/*.png"))[: MAX_NAMED + 2]
    for path in broken:
        path.write_bytes(b"broken")
    mask = salak_root / "salak-1-2/masks/d_patch_001_001.png"
    cv2.imwrite(str(mask), np.full((32, 32), 42, dtype=np.uint8))
    assert semiseg_inspect(*of(salak_root)) == 1
    out, err = capsys.readouterr()
    assert "Problem: images that cannot be decoded (12)" in out and "... and 2 more" in out
    assert "salak-1-2/masks/d_patch_001_001.png: class id 42 is unknown" in out
    assert err.count("\n") == 1 and "13 problems in 13 files" in err and err.endswith("data.on_error=skip\n")
    figures = json.loads((tmp_path / "out" / "inspect.json").read_text(encoding="utf-8"))
    named = {problem["file"] for problem in figures["problems"]}
    assert named == {path.relative_to(salak_root).as_posix() for path in [*broken, mask]}
    assert (tmp_path / "out" / "contact_sheet.png").is_file()


def test_images_smaller_than_the_crop(
    semiseg_inspect: Verb, salak_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert semiseg_inspect("data=salak", f"data.root={salak_root.as_posix()}") == 0
    shown = capsys.readouterr().out
    assert "24 of 24 images are smaller than trainer.crop_size=256" in shown
    assert shown.rstrip().endswith("aug.pad=true")


@pytest.mark.parametrize("model", ["model=lightweight", "model=lightweight_original"])  # one pads, one resizes
def test_an_augmentation_that_fills_them_up_needs_no_advice(
    semiseg_inspect: Verb, salak_root: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    assert semiseg_inspect("data=salak", f"data.root={salak_root.as_posix()}", model) == 0
    shown = capsys.readouterr().out
    assert "are smaller than trainer.crop_size" not in shown and "aug.pad" not in shown


@pytest.mark.parametrize("data", ["salak", "voc", "folder", "dubai"])
def test_every_data_choice_composes(
    semiseg_inspect: Verb, tmp_path: Path, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = f"data.root={(tmp_path / 'nowhere').as_posix()}"
    assert semiseg_inspect(f"data={data}", root, "data.class_mapping=classes.csv") == 1
    assert "nowhere does not exist" in capsys.readouterr().err


def test_the_demo_is_the_default(semiseg_inspect: Verb, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert semiseg_inspect(*(f"++data.layout.{setting}" for setting in SMALL_DEMO)) == 0
    assert "Snake Fruit" in capsys.readouterr().out
    assert (tmp_path / "runs" / "cache" / "demo" / "class_mapping.csv").is_file()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data=salak", "No value for data.root"),
        ("sample=-1", "sample is -1"),
        ("sample=many", "sample is 'many'; it must be a whole number"),
        ("trainer.crop_size=8", "trainer.crop_size is 8"),
    ],
)
def test_wrong_settings_are_one_clear_line(
    semiseg_inspect: Verb, override: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert semiseg_inspect(override) == 1
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_a_mask_without_an_image_is_one_clear_line(
    semiseg_inspect: Verb, salak_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (salak_root / "salak-1-1/images/a_patch_000_000.png").unlink()
    assert semiseg_inspect(*of(salak_root)) == 1
    assert "is a mask without an image" in capsys.readouterr().err


def test_the_training_command_keeps_what_chose_the_data() -> None:
    typed = ["data=salak", "sample=5", "+data.note=x", "out=here", "trainer.crop_size=64", "data.root=my patches"]
    command = train_command(training_overrides(typed))
    assert command.startswith("semiseg train data=salak +data.note=x trainer.crop_size=64 ")
    assert "data.root=my patches" in command and command[-1] in "'\""
    assert train_command([]) == "semiseg train"


def test_real_patches(semiseg_inspect: Verb, dubai: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = f"data.labeled_list={(dubai / 'labeled_few.txt').as_posix()}"
    assert semiseg_inspect("data=dubai", f"data.root={dubai.as_posix()}", few, "sample=20") == 0
    assert "20 of 839" in capsys.readouterr().out
    figures = json.loads((tmp_path / "out" / "inspect.json").read_text(encoding="utf-8"))
    assert figures["pools"]["train"] == {"patches": 31, "sources": 4}
    assert figures["pools"]["val"] == {"patches": 145, "sources": 8}
    assert figures["classes"][1]["name"] == "land_unpaved" and 0.4 < figures["classes"][1]["train_share"] < 0.65
    assert all(row["train_patches"] for row in figures["classes"])
