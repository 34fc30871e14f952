"""Files that someone else made: they are read as data, stay in their place, and steer neither terminal nor browser."""

from __future__ import annotations

import codecs
import json
import os
import pickle
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from benchmarks.run_folders import make_run
from omegaconf import OmegaConf
from tests.end_to_end.conftest import Workplace, process_state
from torch import nn

from semiseg.cli import run_verb
from semiseg.data.classes import read_class_mapping
from semiseg.data.layouts.folder import FolderLayout
from semiseg.data.layouts.salak import SalakLayout
from semiseg.data.layouts.voc import VocLayout
from semiseg.data.split import read_source_list
from semiseg.errors import CheckpointError, DataError
from semiseg.models.weights import load_encoder_weights, load_weights, read_state_dict
from semiseg.printable import printable
from semiseg.tracking.mlflow import MLflowTracker

SETTING = "data.labeled_list"
SOURCES = ["east_1", "east_2", "kebun čš"]
PROJECT = Path(__file__).parents[2]


def link(path: Path, target: Path) -> None:
    try:
        path.symlink_to(target, target_is_directory=target.is_dir())
    except OSError as error:
        pytest.skip(f"symbolic links cannot be made here: {error}")


# Lists


OUTSIDE = (
    "../east_1",
    "salak-1-1/../../east_1.png",
    "..\\east_1",
    "/etc/east_1",
    "/east_1.png",
    "\\east_1",
    "C:\\data\\east_1.png",
    "C:east_1",
    "\\\\server\\share\\east_1",
    "//server/share/east_1",
)


@pytest.mark.parametrize("entry", OUTSIDE)
def test_an_entry_that_leaves_the_data_set_is_refused_with_its_line(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"# base images\neast_1\n{entry}\n", encoding="utf-8")
    with pytest.raises(DataError) as error:
        read_source_list(path, SOURCES, SETTING)
    for part in (f"{path}, line 3", repr(entry), "leads out of the data set", f"{SETTING}=PATH"):
        assert part in str(error.value)


ENCODED = {
    "UTF-8": "east_1\nkebun čš\n".encode(),
    "UTF-8 with a mark": codecs.BOM_UTF8 + "east_1\nkebun čš".encode(),
    "UTF-16 of PowerShell": "\ufeffeast_1\r\nkebun čš\r\n".encode("utf-16-le"),
    "UTF-16, big end first": codecs.BOM_UTF16_BE + "east_1\nkebun čš".encode("utf-16-be"),
    "line ends of Windows, other slashes": "salak-1-1\\images\\east_1.PNG\r\nx/kebun čš.tif\r\n".encode(),
    "line ends of an old Mac": "east_1\rkebun čš\r".encode(),
    "comments and blanks": "  east_1  # first\n\n#east_2\n\tkebun čš\n".encode(),
}


@pytest.mark.parametrize("name", ENCODED)
def test_a_list_of_any_editor_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "list.txt").write_bytes(ENCODED[name])
    assert read_source_list(tmp_path / "list.txt", SOURCES, SETTING) == [0, 2]


NO_LIST = {
    "an image": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "zeros": bytes(300),
    "UTF-16 without a mark": "east_1\neast_2\n".encode("utf-16-le"),
    "half of a UTF-16 letter": codecs.BOM_UTF16_LE + b"e",
    "Latin-1": "kebun äö".encode("latin-1"),
    "escape sequences": b"east_1\n\x1b[2Jeast_2\n",
    "nothing": b"",
}


@pytest.mark.parametrize("name", NO_LIST)
def test_what_is_no_list_is_one_clear_message(tmp_path: Path, name: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(NO_LIST[name])
    with pytest.raises(DataError) as error:
        read_source_list(path, SOURCES, SETTING)
    assert str(path) in str(error.value) and str(error.value).isprintable()


def test_a_number_sign_within_a_name_begins_no_comment(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("IMG#1 # the first\n", encoding="utf-8")
    assert read_source_list(tmp_path / "list.txt", ["IMG", "IMG#1"], SETTING) == [1]


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / "voc"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for stem in ("one", "two"):
        (root / "JPEGImages" / f"{stem}.jpg").touch()
        (root / "SegmentationClass" / f"{stem}.png").touch()
        name = {"one": "train", "two": "val"}[stem]
        (root / "ImageSets" / "Segmentation" / f"{name}.txt").write_text(f"{stem}\n", encoding="utf-8")
    return root


def test_the_lists_of_voc_stay_inside_too(voc: Path) -> None:
    path = voc / "ImageSets" / "Segmentation" / "train.txt"
    path.write_text("/JPEGImages/one.jpg /SegmentationClass/one.png\n", encoding="utf-8")  # as SBD's are written
    assert VocLayout().scan(voc).has_mask.all()
    for entry in ("../one", "C:\\one.jpg", "\\\\server\\share\\one.jpg"):
        path.write_text(f"one\n{entry}\n", encoding="utf-8")
        with pytest.raises(DataError, match=r"train\.txt, line 2: .*leads out of the data set"):
            VocLayout().scan(voc)


# Links


@pytest.mark.parametrize("which", ["image", "mask", "images folder", "flight", "class mapping"])
def test_a_link_that_leaves_the_root_is_refused(place: Workplace, which: str) -> None:
    flight, outside = place.data / "salak-1-1", place.path / "elsewhere"
    inside = {
        "image": flight / "images" / "east_1_patch_0_0.png",
        "mask": flight / "masks" / "east_1_patch_0_0.png",
        "images folder": flight / "images",
        "flight": flight,
        "class mapping": place.data / "class_mapping.csv",
    }[which]
    inside.rename(outside)
    link(inside, outside)
    layout = SalakLayout()
    with pytest.raises(DataError) as error:
        layout.classes(place.data, None)
        layout.scan(place.data)
    for part in (str(inside if which != "flight" else inside / "images"), str(outside), "outside of data.root"):
        assert part in str(error.value)


def test_links_within_the_root_and_to_it_are_followed(place: Workplace) -> None:
    images = place.data / "salak-1-1" / "images"
    target = place.data / "store.png"
    (images / "east_1_patch_0_0.png").rename(target)
    link(images / "east_1_patch_0_0.png", target)
    link(place.path / "root", place.data)
    index = SalakLayout().scan(place.path / "root")
    assert len(index) == len(SalakLayout().scan(place.data)) == 28
    assert (place.path / "root" / "salak-1-1/images/east_1_patch_0_0.png").read_bytes() == target.read_bytes()


def test_links_out_of_a_folder_of_globs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "root" / "images").mkdir(parents=True)
    (tmp_path / "secret.png").touch()
    link(tmp_path / "root" / "images" / "a.png", Path("..") / ".." / "secret.png")
    with pytest.raises(DataError, match=r"a\.png leads to .*secret\.png, outside"):
        FolderLayout().scan(tmp_path / "root")


# The class mapping


HEAD = b"class_name,class_color\n"
MAPPINGS = {
    "a formula": (HEAD + b"=cmd|' /C calc'!A0,0 0 0\nb,1 1 1\n", "line 2"),
    "a formula in disguise": (HEAD + b"a,0 0 0\n  @SUM(A1:A9),1 1 1\n", "line 3"),
    "a name that steers a terminal": (HEAD + b"\x1b[2Ja,0 0 0\nb,1 1 1\n", "line 2"),
    "a name of two lines": (HEAD + b'"a\nb",0 0 0\nc,1 1 1\n', "no class name"),
    "a name of zeros": (HEAD + b"\0\0,0 0 0\nb,1 1 1\n", "m.csv"),
    "a huge name": (HEAD + b"a" * 70_000 + b",0 0 0\nb,1 1 1\n", "line 2"),
    "a huge field": (HEAD + b"a" * 200_000 + b",0 0 0\nb,1 1 1\n", "m.csv"),
    "a huge number": (HEAD + b"a," + b"9" * 5000 + b" 0 0\nb,1 1 1\n", "line 2"),
    "a huge file": (HEAD + b"a,0 0 0\n" * 200_000, "bytes, too many"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9, "m.csv"),
    "zeros": (bytes(5000), "m.csv"),
    "UTF-16": ("class_name,class_color\na,0 0 0\n".encode("utf-16"), "Save it as UTF-8"),
    "an open quote": (HEAD + b'"a,0 0 0\nb,1 1 1\n', "m.csv"),
    "many columns": (HEAD + b"a" + b"," * 100_000 + b"\n", "line 2"),
}


@pytest.mark.parametrize("name", MAPPINGS)
def test_a_hostile_class_mapping_is_one_short_message(tmp_path: Path, name: str) -> None:
    content, expected = MAPPINGS[name]
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(DataError) as error:
        read_class_mapping(tmp_path / "m.csv")
    text = str(error.value)
    assert str(tmp_path / "m.csv") in text and expected in text
    assert text.isprintable() and len(text) < 600


# Weights


class Bomb:
    """Makes a folder when it is unpickled, if anyone lets it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_weights_are_never_executed(tmp_path: Path) -> None:
    proof, network = tmp_path / "executed", nn.Conv2d(3, 2, 1)
    state = {"weight": network.weight.detach(), "more": Bomb(proof)}
    torch.save(state, tmp_path / "zip.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(state))
    (tmp_path / "named.safetensors").write_bytes(pickle.dumps(state))
    for name in ("zip.pth", "old.pth", "bare.pth", "named.safetensors"):
        for load in (lambda path: load_encoder_weights(network, "resnet18", path), lambda p: load_weights(network, p)):
            with pytest.raises(CheckpointError) as error:
                load(str(tmp_path / name))
            assert name in str(error.value) and "\n" not in str(error.value)
            assert "weights_only" not in str(error.value), "no advice to load it without protection"
    assert not proof.exists()


def test_weights_that_hold_themselves_or_strange_things(tmp_path: Path) -> None:
    path, weight = tmp_path / "w.pth", torch.ones(2, 3, 1, 1)
    circle: dict = {}
    circle["model"] = circle
    torch.save(circle, path)
    with pytest.raises(CheckpointError, match="holds no tensors"):
        read_state_dict(path)
    endless = torch.ones(1).expand(2**40)
    odd = {7: weight, ("a",): weight, "endless": endless, "sparse": weight.to_sparse(), "complex": weight + 1j}
    torch.save(odd | {"meta": torch.empty(3, device="meta"), "weight": weight, "note": "x"}, path)
    assert list(read_state_dict(path)) == ["weight"]


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    for value in (float("nan"), float("inf")):
        torch.save({"weight": torch.full((2, 3, 1, 1), value), "bias": torch.zeros(2)}, tmp_path / "w.pth")
        with pytest.raises(CheckpointError, match=r"w\.pth holds numbers that are not finite, in weight"):
            load_weights(nn.Conv2d(3, 2, 1), tmp_path / "w.pth")


def test_names_in_weights_do_not_reach_the_terminal_raw(tmp_path: Path) -> None:
    torch.save({"\x1b[2J\x07evil": torch.ones(3)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError) as error:
        load_weights(nn.Conv2d(3, 2, 1), tmp_path / "w.pth")
    assert r"\x1b[2J\x07evil" in str(error.value) and str(error.value).isprintable()


# Where a run writes


def state_of(root: Path) -> dict[str, tuple[int, int]]:
    """Time of change and size of a folder and of all that lies below."""
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in [root, *root.rglob("*")]}


def test_nothing_is_written_but_the_output_folder(place: Workplace) -> None:
    """Training and inspecting leave the data as they were, also where they may not be written to."""
    folders = [path for path in [place.data, *place.data.rglob("*")] if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    before = state_of(place.data)
    try:
        assert place.train_small("name=run", "pseudo_label=softmax", "loss.class_weights=balanced") == 0
        with place.entered():
            assert (
                run_verb("inspect", [*(w for w in place.typed() if w.startswith("data")), "trainer.crop_size=32"]) == 0
            )
        assert state_of(place.data) == before
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert {path.name for path in place.path.iterdir()} == {"data", "runs"}
    assert {path.name for path in (place.path / "runs").iterdir()} <= {"cache", "inspect", "semiseg", "mlflow.db"}


# Names on a terminal and a page


NAMES = (
    "[red]x[blink]_patch_0_0.png",
    "\x1b]0;owned\x07\x1b[2J_patch_0_0.png",
    "two\nlines_patch_0_0.png",
    "\udcff.png",
)


@pytest.mark.parametrize("name", NAMES)
def test_inspect_names_a_broken_file_and_lets_it_steer_nothing(
    place: Workplace, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        (place.data / "salak-2-2/images" / name).write_bytes(b"no image")
    except (OSError, UnicodeError) as error:
        pytest.skip(f"this file system does not take the name: {error}")
    intact = place.data / "salak-2-2/images" / f"intact {name}"
    cv2.imwrite(str(place.data / "i.png"), np.zeros((48, 48, 3), np.uint8))
    (place.data / "i.png").rename(intact)
    with place.entered():
        status = run_verb("inspect", [*(w for w in place.typed() if w.startswith("data")), "trainer.crop_size=32"])
    out, err = capfd.readouterr()
    assert status == 1 and "1 problem in 1 file" in err
    shown = [line for line in out.splitlines() if "cannot be decoded:" in line]
    assert len(shown) == 1 and printable(name) in shown[0]
    assert all(line.isprintable() for line in (out + err).splitlines())
    figures = json.loads((place.path / "runs/inspect/salak/inspect.json").read_text(encoding="utf-8"))
    assert figures["problems"][0]["file"] == f"salak-2-2/images/{name}"
    assert cv2.imread(str(place.path / "runs/inspect/salak/contact_sheet.png")) is not None


def test_errors_write_out_what_a_terminal_would_obey() -> None:
    error = DataError("\x1b[31ma.png\u202e: broken.\nRestore it.")
    assert str(error) == r"\x1b[31ma.png\u202e: broken." + "\nRestore it."
    assert printable("kebun čš 目标 🌴.png") == "kebun čš 目标 🌴.png"


class Page(HTMLParser):
    """The elements that do something, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts, self.handlers, self.sources = 0, [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.handlers += [name for name, value in attrs if name.startswith("on") or "javascript:" in (value or "")]
        self.sources += [value or "" for name, value in attrs if name == "src"]


def test_a_report_holds_no_script_but_its_own(tmp_path: Path) -> None:
    """Runs whose names, classes, settings and warnings were chosen to be run by the browser."""
    evil, image = "<script>alert(1)</script>", '"><img src=x onerror=alert(2)>'
    classes = {"background": (0, 0, 0), evil: (9, 9, 9), image: (200, 0, 0), "</svg><script>x</script>": (0, 0, 200)}
    hostile = tmp_path / "runs" / ("group" if os.name == "nt" else image)
    for seed in range(2):
        make_run(
            hostile / (f"run{seed}" if os.name == "nt" else f"<script>alert({seed})<"),
            seed=seed,
            classes=classes,
            overrides={"note": evil, "data.root": image, "name": evil},
            summary={"warnings": [evil], "name": evil},
            steps=10,
            evaluations=2,
        )
    places = [f"runs={tmp_path / 'runs'}", f"out={tmp_path / 'out'}", f"output={tmp_path / 'output'}", "tracking=none"]
    with process_state():
        assert run_verb("compare", [place.replace("\\", "/") for place in places]) == 0
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.scripts == (PROJECT / "src/semiseg/report/page.html.j2").read_text(encoding="utf-8").count("<script")
    assert page.handlers == []
    assert all(source.startswith("data:image/") for source in page.sources)
    assert "alert(1)" in text, "the names are shown, as text"
    assert "default-src 'none'" in text and "script-src 'sha256-" in text


# Servers


def test_no_server_listens_beyond_this_machine() -> None:
    """`semiseg serve` is the only one that the project starts; the command it prints leaves MLflow at its default."""
    assert OmegaConf.load(PROJECT / "conf" / "serve.yaml").host == "127.0.0.1"
    for path in sorted(set((PROJECT / "src").rglob("*.py")) - set((PROJECT / "src" / "semiseg" / "serve").glob("*"))):
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"0\.0\.0\.0|--host|HTTPServer|socketserver|\.listen\(|\.bind\(|uvicorn|app\.run\(", text
        ), path


def test_the_printed_command_for_mlflow_names_no_host(tmp_path: Path) -> None:
    assert (
        MLflowTracker("x", root=tmp_path).ui_command
        == f"mlflow ui --backend-store-uri sqlite:///{tmp_path.as_posix()}/mlflow.db"
    )
    import mlflow.cli

    (option,) = [option for option in mlflow.cli.server.params if "--host" in option.opts]
    assert option.default == "127.0.0.1"
