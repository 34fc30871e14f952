"""The verb on a run of two steps: the same score as in training, its files, and one clear message for a mistake."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf
from tests.evaluation.conftest import run_verb

from semiseg.errors import SemisegError
from semiseg.evaluation import EvaluateConfig, folder_of
from semiseg.pseudo_label.thresholds import resolve_thresholds

Evaluate = Callable[..., dict]
without_figures = pytest.mark.usefixtures("without_figures")


def summary_of(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))


def copy_of(run: Path, to: Path) -> Path:
    """The run at another place."""
    shutil.copytree(run, to, ignore=shutil.ignore_patterns("evaluation"))
    return to


def labelled_folder(root: Path, classes: int = 3) -> Path:
    """Images and masks of ids below `root`, as data=folder takes them."""
    rng = np.random.default_rng(5)
    for kind, top, shape in (("images", 256, (40, 40, 3)), ("masks", classes, (40, 40))):
        (root / kind).mkdir(parents=True)
        for name in ("x", "y"):
            cv2.imwrite(str(root / kind / f"{name}.png"), rng.integers(0, top, shape, dtype=np.uint8))
    return root


def refused(capsys: pytest.CaptureFixture[str], status: int) -> str:
    """The one message of a verb that failed."""
    printed = capsys.readouterr()
    assert status == 1 and "Traceback" not in printed.out + printed.err
    assert printed.err.startswith("semiseg: ") and printed.err.count("\n") == 1
    return printed.err


@without_figures
def test_the_score_of_the_training_comes_out_exactly(evaluate: Evaluate, trained_run: Path) -> None:
    summary, found = summary_of(trained_run), evaluate()
    assert found["metrics"]["miou"] == summary["best_val_miou"]
    assert found["metrics"]["miou_all"] == summary["best_val_miou_all"]
    assert {name: row["iou"] for name, row in found["per_class"].items()} == summary["class_iou"]
    assert found["miou_leaves_out"] == ["soil"] and found["split"] == "val" and found["warnings"] == []
    assert (found["patches"], found["sources"]) == (4, 2)
    again = evaluate("batch_size=3", "num_workers=1")
    assert again["metrics"]["miou"] == pytest.approx(summary["best_val_miou"], abs=1e-6)


def test_files_and_tables(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str], trained_run: Path
) -> None:
    found = evaluate("target_precision=0.2")
    shown = capsys.readouterr().out
    for part in ("Scores", "Classes", "Sources", "boundary mIoU", "The means leave out: soil", "Written:"):
        assert part in shown
    with (tmp_path / "out" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["source"], line["patches"], line["pixels"]) for line in lines] == [
        ("c", "2", "3200"),
        ("d", "2", "3200"),
    ]
    mean_accuracy = np.mean([float(line["accuracy"]) for line in lines])
    assert mean_accuracy == pytest.approx(found["metrics"]["accuracy"])  # both sources have the same number of pixels
    assert {"miou", "mean_accuracy", "iou/soil", "precision/road", "recall/palm", "f1/palm"} <= lines[0].keys()
    for name in ("class_iou", "confusion", "reliability", "thresholds"):
        picture = cv2.imread(str(tmp_path / "out" / "figures" / f"{name}.png"))
        assert picture is not None and picture.std() > 10
    assert np.sum(found["confusion"]) == 6400
    assert sum(row["pixels"] for row in found["calibration"]["bins"]) == 6400
    assert not list((tmp_path / "out").rglob("*.part"))


@without_figures
def test_the_suggested_thresholds_are_taken_by_a_training(evaluate: Evaluate) -> None:
    found = evaluate("target_precision=0.2")["thresholds"]
    key, _, value = found["override"].strip('"').partition("=")
    taken = resolve_thresholds(OmegaConf.to_container(OmegaConf.create(value)), 0.65, ("soil", "road", "palm"))
    assert key == "pseudo_label.class_thresholds"
    assert taken == [float("inf") if each is None else each for each in found["suggested"].values()]
    assert found["suggested"]["soil"] is None and any(each is not None for each in found["suggested"].values())
    assert len(found["classes"]["road"]["precision"]) == len(found["threshold"]) == 100


@without_figures
def test_every_split_has_its_patches(evaluate: Evaluate, trained_run: Path, tmp_path: Path) -> None:
    def sources(split: str, *more: str) -> list[str]:
        evaluate(f"split={split}", *more)
        with (tmp_path / "out" / "metrics.csv").open(encoding="utf-8", newline="") as file:
            return [line["source"] for line in csv.DictReader(file)]

    assert sources("train") == ["a", "b"]
    assert sources("unlabeled") == ["e"]  # f has no hidden mask
    other = labelled_folder(tmp_path / "other")
    assert sources("test", "data=folder", f"data.root={other.as_posix()}") == ["x", "y"]
    mapping = (tmp_path / "out" / "class_mapping.csv").read_text(encoding="utf-8")
    assert mapping.splitlines()[:2] == ["class_name,class_color", "soil,10 10 10"]


@without_figures
def test_a_worker_that_dies_is_told_with_the_settings_of_this_verb(
    trained_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(*args: object, **kwargs: object) -> None:
        raise SemisegError("A loader worker died: trainer.num_workers=0 reads without, trainer.batch_size=1 less.")

    monkeypatch.setattr("semiseg.evaluation.measure", killed)
    text = refused(capsys, run_verb("evaluate", f"run={trained_run.as_posix()}", "device=cpu", "num_workers=1"))
    assert "died: num_workers=0 reads without, batch_size=1 less" in text


@without_figures
def test_single_settings_of_the_data_are_replaced(evaluate: Evaluate, tmp_path: Path) -> None:
    other = tmp_path / "val.txt"
    other.write_text("e\n", encoding="utf-8")
    found = evaluate(f"data.val_list={other.as_posix()}", "data.exclude_from_miou=[]")
    assert (found["patches"], found["miou_leaves_out"]) == (2, [])
    assert "was trained on other pools" in found["warnings"][0]
    assert found["metrics"]["miou"] == found["metrics"]["miou_all"]


@without_figures
def test_moved_data_keeps_its_lists(evaluate: Evaluate, trained_run: Path, tmp_path: Path) -> None:
    root = Path(OmegaConf.load(trained_run / ".hydra" / "config.yaml").data.root)
    shutil.copytree(root, tmp_path / "moved")
    found = evaluate(f"data.root={(tmp_path / 'moved').as_posix()}")
    assert found["metrics"]["miou"] == summary_of(trained_run)["best_val_miou"]


@without_figures
@pytest.mark.parametrize("settings", [("tta=flips",), ("tta=multiscale",), ("size=64",)])
def test_another_view_gives_another_score_of_the_same_pixels(evaluate: Evaluate, settings: tuple[str, ...]) -> None:
    plain, found = evaluate(), evaluate(*settings)
    assert np.sum(found["confusion"]) == np.sum(plain["confusion"])
    assert found["metrics"] != plain["metrics"]


@without_figures
def test_an_ensemble_of_runs_has_members_and_a_gain(evaluate: Evaluate, trained_run: Path, tmp_path: Path) -> None:
    final = copy_of(trained_run, tmp_path / "second")
    shutil.copy(final / "checkpoints" / "final_model.pth", final / "checkpoints" / "best_model.pth")
    found = evaluate(run=f"[{trained_run.as_posix()},{final.as_posix()}]")
    assert list(found["members"]) == ["lightweight/first", "lightweight/second"]
    own = found["metrics"]["miou"]
    scores = [each["miou"] for each in found["members"].values()]
    assert found["gain"]["miou"]["over_best"] == pytest.approx(own - max(scores))
    with (tmp_path / "out" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        systems = [line["system"] for line in csv.DictReader(file)]
    assert systems == ["lightweight/first"] * 2 + ["lightweight/second"] * 2 + ["ensemble"] * 2
    again = evaluate(run=f"[{trained_run.as_posix()},{trained_run.as_posix()}]")
    assert list(again["members"]) == ["lightweight/first (1)", "lightweight/first (2)"]


@without_figures
def test_without_out_it_goes_into_the_run(semiseg: Callable, trained_run: Path, tmp_path: Path) -> None:
    run = copy_of(trained_run, tmp_path / "copy")
    assert semiseg("evaluate", f"run={run.as_posix()}", "split=train", "tta=flips", "size=48", "device=cpu") == 0
    assert (run / "evaluation" / "train-flips-48" / "evaluation.json").is_file()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["split=validation"], "split is 'validation'; it must be one of val, test, train, unlabeled"),
        (["tta=flip"], "tta is 'flip'; it must be one of none, flips, multiscale"),
        (["size=8"], "size is 8; it must be 33 or more"),
        (["target_precision=90"], "target_precision is 90; it must lie between 0 and 1"),
        (["precision=half"], "precision is 'half'"),
        (["batch_size=0"], "batch_size is 0"),
        (["device=gpu"], "device is 'gpu'"),
        (["device=auto:1"], "device is 'auto:1'; a single GPU of several is cuda:0"),
        (["model=v1"], "model is no setting of an evaluation"),
        (["+speed=2"], "speed is no setting of an evaluation"),
        (["data.rot=x"], "Did you mean root?"),
        (["split=test"], "is the data of"),
        (["data.root=nowhere"], "nowhere does not exist"),
        (["data=folder"], "No value for data.root"),
        (["run=[]"], "names no run"),
        (["run=nowhere"], "run=nowhere does not exist"),
    ],
)
def test_mistakes(
    semiseg: Callable, trained_run: Path, overrides: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    given = [] if overrides[0].startswith("run=") else [f"run={trained_run.as_posix()}"]
    assert said in refused(capsys, semiseg("evaluate", *given, *overrides))


def test_no_run(semiseg: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No value for run" in refused(capsys, semiseg("evaluate"))


def test_an_empty_split(
    semiseg: Callable, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(OmegaConf.load(trained_run / ".hydra" / "config.yaml").data.root)
    moved = shutil.copytree(root, tmp_path / "moved")
    shutil.rmtree(moved / "flight-e" / "masks")
    capsys.readouterr()
    status = semiseg("evaluate", f"run={trained_run.as_posix()}", f"data.root={moved.as_posix()}", "split=unlabeled")
    assert "none of the 4 unlabelled patches" in refused(capsys, status)


def test_test_data_that_was_moved_is_known_again(
    semiseg: Callable, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(OmegaConf.load(trained_run / ".hydra" / "config.yaml").data.root)
    moved = shutil.copytree(root, tmp_path / "moved")
    capsys.readouterr()
    status = semiseg("evaluate", f"run={trained_run.as_posix()}", f"data.root={moved.as_posix()}", "split=test")
    assert "is the data of" in refused(capsys, status)


def test_classes_that_do_not_fit(
    semiseg: Callable, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = trained_run.as_posix(), labelled_folder(tmp_path / "other")
    mapping = other / "classes.csv"
    mapping.write_text("class_name,class_color\nsoil,10 10 10\npalm,0 200 0\nroad,90 90 90\n", encoding="utf-8")
    data = ["data=folder", f"data.root={other.as_posix()}", "split=test"]
    capsys.readouterr()
    said = refused(capsys, semiseg("evaluate", f"run={run}", *data, f"data.class_mapping={mapping.as_posix()}"))
    assert "predicts the 3 classes soil, road, palm" in said and "the 3 classes soil, palm, road" in said
    second = copy_of(trained_run, tmp_path / "second")
    summary = summary_of(second)
    summary["classes"] = ["soil", "road", "tree"]
    summary["colors"] = dict(zip(summary["classes"], summary["colors"].values(), strict=True))
    (second / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    assert "soil, road, tree" in refused(capsys, semiseg("evaluate", f"run=[{run},{second.as_posix()}]"))


def test_masks_of_unknown_ids_are_named(
    semiseg: Callable, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = labelled_folder(tmp_path / "other", classes=9)
    capsys.readouterr()
    given = [f"run={trained_run.as_posix()}", "data=folder", f"data.root={other.as_posix()}", "split=test"]
    said = refused(capsys, semiseg("evaluate", *given, f"out={(tmp_path / 'out').as_posix()}"))
    assert "masks" in said and "class id" in said
    assert not (tmp_path / "out" / "evaluation.json").exists()


def test_what_was_evaluated_tells_where_it_goes() -> None:
    run = Path("runs/first")

    def name(typed: dict[str, str] | None = None, **settings: Any) -> str:
        return folder_of(EvaluateConfig(**{"run": "runs/first", **settings}), run, typed or {}).name

    assert name() == "val" and name(split="train", tta="flips", size=640) == "train-flips-640"
    assert name(run="runs/first/checkpoints/final_model.pth") == "val-final_model"
    lists = [name({"data.val_list": path}) for path in ("few.txt", "other.txt")]
    roots = [name({"data": "folder", "data.root": root}, split="test") for root in ("a/x", "b/x")]
    pairs = [name(run=["runs/first", other]) for other in ("runs/second", "runs/third")]
    assert all(each.startswith("val-ensemble-of-2-") for each in pairs)
    assert len({"val", name(precision="bf16"), *lists, *roots, *pairs}) == 8
