"""What a finished run leaves in its folder and in MLflow."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semiseg.engine.engine import Engine
from semiseg.tracking.local import read_metrics

CLASSES = ("background", "road", "palm")
SUMMARY = {
    "status", "model", "seed", "num_classes", "parameters", "steps", "best_val_miou", "best_step", "final_val_miou",
    "class_iou", "gap", "st_pixels", "st_images", "st_coverage", "st_precision", "seconds_per_step", "peak_memory_mib",
    "checkpoints", "warnings", "colors", "gflops", "latency_ms", "weights_mib", "weights_of_record", "sweep", "pools",
}  # fmt: skip
STEP_METRICS = {
    "loss/ce", "loss/dice", "loss/focal", "loss/st", "loss/fm", "loss/discriminator", "loss/total", "lr/student",
    "lr/discriminator", "st/images", "st/pixels", "st/coverage", "st/precision", "images_per_s", "peak_memory_mib",
}  # fmt: skip
EVALUATION_METRICS = {"train/miou", "val/miou", "train/miou_all", "val/miou_all", "gap", "best/val_miou"}
ALL_SWITCHED_ON = ("model=lightweight", "loss=combined", "pseudo_label=discriminator", "pseudo_label.start_step=0")


@pytest.fixture(scope="module")
def run(shared_place) -> Any:
    """A tracked run with every loss and a discriminator."""
    typed = ("name=tracked", "tracking=mlflow", "trainer.max_steps=3", "trainer.eval_every=2", *ALL_SWITCHED_ON)
    assert shared_place.train(*typed) == 0
    return shared_place.run("tracked")


def test_examples_hold_what_the_best_weights_make_of_fixed_patches(run):
    with np.load(run.path / "examples.npz") as examples, np.load(run.path / "confusion_best.npz") as best:
        count = min(6, len(best["val"]))
        assert len(set(examples["names"])) == count
        assert best["source"].shape == (len(best["val"]),)
        valid = examples["truth"] != 255
        seen = np.zeros_like(best["val"][0])
        np.add.at(seen, (examples["truth"][valid], examples["prediction"][valid]), 1)
        assert examples["image"].shape == (*examples["truth"].shape, 3) and examples["image"].dtype == np.uint8
        assert (seen <= best["val"].sum(0)).all() and seen.sum() > 0


@pytest.fixture(scope="module")
def client(shared_place):
    """MLflow's own client of the store, as another program would read it."""
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{(shared_place.path / 'runs' / 'mlflow.db').as_posix()}")


@pytest.fixture(scope="module")
def stored(run, client) -> Any:
    return client.get_run(run.summary()["mlflow_run_id"])


def test_summary(run):
    summary = run.summary()
    assert summary.keys() >= SUMMARY
    assert (summary["status"], summary["model"], summary["seed"], summary["steps"]) == ("finished", "lightweight", 0, 3)
    assert summary["num_classes"] == 3
    assert set(summary["class_iou"]) <= set(CLASSES)
    assert summary["st_pixels"] == 2 * 32 * 32 and summary["st_images"] == 2 and summary["st_coverage"] == 1
    assert 0 < summary["st_precision"] < 1
    assert summary["seconds_per_step"] > 0 and summary["peak_memory_mib"] > 10
    assert list(summary["colors"]) == list(CLASSES) and summary["pools"]["val"] > 0
    assert min(summary[key] for key in ("gflops", "latency_ms", "weights_mib")) > 0
    assert summary["weights_of_record"] == "model" and summary["sweep"] is None
    best = max(line["val/miou"] for line in run.metrics() if "val/miou" in line)
    assert summary["best_val_miou"] == best == run.load()["best_val_miou"]


def test_metrics_of_the_folder(run):
    lines = read_metrics(run.path / "metrics.jsonl")
    steps = [line for line in lines if "loss/ce" in line]
    evaluations = [line for line in lines if "val/miou" in line]
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert [line["step"] for line in evaluations] == [2, 3]
    assert steps[0].keys() >= STEP_METRICS
    iou = {f"{side}/iou/{name}" for side in ("train", "val") for name in CLASSES}
    assert EVALUATION_METRICS | iou <= evaluations[-1].keys()
    for line in evaluations:
        counted = [line["val/iou/road"], line["val/iou/palm"]]  # the first class, background, is left out
        assert math.isclose(line["val/miou"], sum(counted) / 2)
        assert math.isclose(line["gap"], line["train/miou"] - line["val/miou"])


def test_mlflow_holds_the_numbers_of_the_folder(run, stored, client):
    lines = read_metrics(run.path / "metrics.jsonl")
    names = {name for line in lines for name in line} - {"step", "time"}
    assert set(stored.data.metrics) == names
    for name in names:
        history = [(metric.step, metric.value) for metric in client.get_metric_history(stored.info.run_id, name)]
        assert sorted(history) == sorted((line["step"], line[name]) for line in lines if name in line), name


def test_the_last_lines_say_where_things_are(run, shared_place):
    shown = (run.path / "log.txt").read_text(encoding="utf-8")
    database = (shared_place.path / "runs" / "mlflow.db").as_posix()
    assert f"mlflow ui --backend-store-uri sqlite:///{database}" in shown
    assert str(run.path / "checkpoints" / "best_model.pth") in shown


def test_mlflow_holds_settings_and_origin(run, stored):
    params, tags = stored.data.params, stored.data.tags
    assert params["trainer.max_steps"] == "3"
    assert params["pseudo_label.threshold"] == "0.2"
    assert params["optim.lr"] == "0.0001"
    assert tags["git_commit"] and tags["git_commit"] == (run.summary()["git_commit"] or "unknown")
    assert tags["data_fingerprint"] == run.summary()["data_fingerprint"]
    assert (tags["model"], tags["seed"]) == ("lightweight", "0")
    assert Path(tags["run_folder"]) == run.path.resolve()
    assert stored.info.run_name == "tracked"
    assert stored.info.status == "FINISHED"


def test_mlflow_holds_config_weights_and_pictures(run, stored, client, tmp_path):
    artifacts = Path(client.download_artifacts(stored.info.run_id, "", str(tmp_path)))
    weights = run.path / "checkpoints" / "best_model.pth"
    assert (artifacts / "config.yaml").read_bytes() == (run.path / ".hydra" / "config.yaml").read_bytes()
    assert (artifacts / "checkpoints" / "best_model.pth").read_bytes() == weights.read_bytes()
    assert (artifacts / "summary.json").is_file()
    assert (artifacts / "figures" / "sample_predictions.png").stat().st_size > 0


def test_an_interrupted_run_is_killed_there_and_finishes_when_resumed(shared_place, client, monkeypatch):
    """In the same place of the store: one run, every step once."""
    step = Engine._train_step

    def interrupted(self: Engine, *args: Any) -> None:
        if self.step == 2:
            monkeypatch.setattr(Engine, "_train_step", step)
            raise KeyboardInterrupt
        step(self, *args)

    monkeypatch.setattr(Engine, "_train_step", interrupted)
    typed = ["name=stopped", "tracking=mlflow", "trainer.max_steps=3", "trainer.save_latest_every=1"]
    run = shared_place.run("stopped")
    assert shared_place.train_small(*typed) == 130
    run_id = run.summary()["mlflow_run_id"]
    assert client.get_run(run_id).info.status == "KILLED"

    assert shared_place.command("resume=true", "name=stopped") == 0
    assert run.summary()["mlflow_run_id"] == run_id
    assert client.get_run(run_id).info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(run_id, "loss/focal")] == [1, 2, 3]


def test_a_run_restored_in_another_folder_is_a_run_of_its_own(shared_place, run, client):
    weights = run.path / "checkpoints" / "latest_checkpoint.pth"
    typed = ("name=branch", "tracking=mlflow", "trainer.max_steps=4", *ALL_SWITCHED_ON)
    assert shared_place.train(f"restore_from={weights.as_posix()}", *typed) == 0
    branch = shared_place.run("branch").summary()["mlflow_run_id"]
    assert branch != run.summary()["mlflow_run_id"]
    assert [metric.step for metric in client.get_metric_history(branch, "loss/ce")] == [4]
