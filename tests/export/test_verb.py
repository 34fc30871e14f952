"""The verb on a small run: its files, its figures, and the other verbs on what it wrote."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from semiseg.models.weights import read_state_dict
from semiseg.prediction.record import fingerprint
from semiseg.trained import Trained, load_predictor

Verb = Callable[..., int]


def refused(capsys: pytest.CaptureFixture[str], status: int) -> str:
    """The one message of a verb that failed."""
    printed = capsys.readouterr()
    assert status == 1 and "Traceback" not in printed.out + printed.err
    assert printed.err.startswith("semiseg: ") and printed.err.count("\n") == 1
    return printed.err


def test_export_writes_files_figures_and_a_table(
    semiseg: Verb, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semiseg.export.costs.SECONDS", 0)
    out = trained.folder / "exported"
    assert semiseg("export", f"run={trained.folder.as_posix()}", "calibration=3") == 0
    assert {path.name for path in out.iterdir()} == {"model.onnx", "model.int8.onnx", "export.json"}
    found = json.loads((out / "export.json").read_text(encoding="utf-8"))
    assert (found["validation_patches"], found["calibration_patches"], found["model"]) == (4, 3, "tiny")
    network, fp32, int8 = found["systems"]
    assert fp32["miou"] == pytest.approx(network["miou"], abs=1e-6) and network["miou_change_points"] == 0
    assert int8["miou_change_points"] == pytest.approx(100 * (int8["miou"] - network["miou"]))
    assert fp32["shapes"] == [[1, 3, 40, 48], [3, 3, 50, 72]] and fp32["largest_difference"] < found["tolerance"]
    assert {(row["batch"]) for row in int8["latency"]} == {1, 8} and network["latency"][0]["speedup"] == 1
    assert network["memory_mib"] is None  # a process of its own does not know a network of the tests
    assert all(math.isfinite(row["memory_mib"]) and row["memory_mib"] > 20 for row in (fp32, int8))
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("PyTorch", "ONNX INT8", "same class", "Load of the", "Written:"))


def test_an_export_of_other_weights_leaves_no_file_of_the_best_and_does_not_stand_for_them(
    semiseg: Verb, exported: Path, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(trained.folder, tmp_path / "first", ignore=shutil.ignore_patterns("exported"))
    out = shutil.copytree(exported, folder / "exported")
    (out / "export.json").write_text(
        json.dumps({"weights_fingerprint": fingerprint(trained.weights)}), encoding="utf-8"
    )
    final = folder / "checkpoints" / "final_model.pth"
    torch.save({key: value + 0.1 for key, value in read_state_dict(trained.weights).items()}, final)
    assert semiseg("export", f"run={final.as_posix()}", "format=onnx", "measure=false") == 0
    assert {path.name for path in out.iterdir()} == {"model.onnx", "export.json"}
    said = capsys.readouterr().out
    assert "Removed, because they are of other weights: " in said and "model.int8.onnx" in said
    assert load_predictor(out / "model.onnx", trained.device).summary["best_val_miou"] is None
    status = semiseg("evaluate", f"run={folder.as_posix()}", "backend=onnx")
    assert "is not of the best weights that the run has now" in refused(capsys, status)


def test_the_evaluation_of_the_file_does_not_replace_that_of_the_run(
    semiseg: Verb, exported: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semiseg.evaluation.files.pictures", lambda *_: [])
    folder = shutil.copytree(trained.folder, tmp_path / "first", ignore=shutil.ignore_patterns("exported"))
    shutil.copytree(exported, folder / "exported")
    assert semiseg("evaluate", f"run={folder.as_posix()}", "backend=onnx", "device=cpu") == 0
    assert (folder / "exported" / "evaluation" / "val" / "evaluation.json").is_file()
    assert not (folder / "evaluation").exists()


def test_evaluate_and_predict_take_the_file(
    semiseg: Verb, exported: Path, trained: Trained, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semiseg.evaluation.files.pictures", lambda *_: [])
    shutil.copytree(exported, trained.folder / "exported", dirs_exist_ok=True)
    source = (data_root / "flight-c" / "images").as_posix()
    scores = []
    for number, (run, backend) in enumerate(
        [(trained.folder, "auto"), (exported / "model.onnx", "auto"), (trained.folder, "onnx")]
    ):
        chosen, out, maps = (
            (f"run={run.as_posix()}", f"backend={backend}"),
            tmp_path / str(number),
            tmp_path / f"maps{number}",
        )
        assert semiseg("evaluate", *chosen, f"out={out.as_posix()}", "device=cpu") == 0
        scores.append(json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["metrics"]["miou"])
        assert semiseg("predict", *chosen, f"input={source}", f"out={maps.as_posix()}") == 0
    assert scores[0] == pytest.approx(scores[1], abs=1e-6) and scores[1] == scores[2]
    written = [sorted((tmp_path / f"maps{number}" / "classes").iterdir()) for number in range(3)]
    names = [[path.name for path in paths] for paths in written]
    assert names[0] == names[1] == names[2] and len(names[0]) == 2


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["format=tflite"], "format is 'tflite'"),
        (["format=[]"], "names no format"),
        (["calibration=0"], "calibration"),
        (["run=???"], "No value for run. Add to the command: run=PATH"),
        (["model.name=x"], "model.name is no setting of an export"),
    ],
)
def test_a_mistake_is_one_message(
    semiseg: Verb, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: list[str], said: str
) -> None:
    out = tmp_path / "out"
    status = semiseg("export", f"run={trained.folder.as_posix()}", f"out={out.as_posix()}", *overrides)
    assert said in refused(capsys, status) and not out.exists()


def test_what_run_cannot_be(semiseg: Verb, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model")
    status = semiseg("evaluate", f"run={(tmp_path / 'x.onnx').as_posix()}")
    assert "no ONNX file, or it is damaged" in refused(capsys, status)
