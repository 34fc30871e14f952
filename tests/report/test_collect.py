import json
import os
from datetime import date
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from semiseg.errors import ConfigError, SemisegError
from semiseg.files import write_json
from semiseg.report.collect import Filters, Run, find_runs, read_run
from semiseg.report.options import CompareConfig
from semiseg.report.recorded import fault, read_overrides


def test_runs_are_found_at_any_depth_and_nothing_else_is(tmp_path):
    for folder in ("exp/a", "multirun/2026-11-21/0", "mlartifacts/1/x", "cache/y", "exp/a/checkpoints/z", ".trash/b"):
        write_json(tmp_path / folder / "summary.json", {"status": "finished"})
    (tmp_path / "exp" / "crashed").mkdir()
    (tmp_path / "exp" / "crashed" / "log.txt").write_text("started", encoding="utf-8")
    (tmp_path / "exp" / "cut").mkdir()
    (tmp_path / "exp" / "cut" / "summary.json").write_text('{"status": "fin', encoding="utf-8")
    write_json(tmp_path / "multirun" / "2026-11-21" / "sweep.json", {"jobs": []})
    (tmp_path / "log.txt").write_text("of `> log.txt`, no run's", encoding="utf-8")
    (tmp_path / "exp" / "killed" / ".hydra").mkdir(parents=True)
    (tmp_path / "exp" / "killed" / ".hydra" / "config.yaml").write_text("seed: 4\nmodel: {name: v2}", encoding="utf-8")
    found = find_runs(tmp_path)
    killed = next(run for run in found.runs if run.folder.name == "killed")
    assert (killed.model, killed.seed, killed.status) == ("v2", "4", "no summary")
    runs = {run.folder.relative_to(tmp_path).as_posix(): run.finished for run in found.runs}
    assert runs == {
        "exp/a": True, "exp/crashed": False, "exp/cut": False, "exp/killed": False, "multirun/2026-11-21/0": True,
    }  # fmt: skip
    assert found.sweeps == [tmp_path / "multirun" / "2026-11-21" / "sweep.json"]


def test_a_folder_that_is_not_there_says_what_to_type(tmp_path):
    with pytest.raises(SemisegError, match=r"train first \((python train\.py|semiseg train)\) or give runs=FOLDER"):
        find_runs(tmp_path / "missing")


def test_settings_leave_out_what_only_names_a_run(tmp_path):
    write_json(tmp_path / "a" / "summary.json", {"choices": {"loss": "ce", "tracking": "none"}, "model": "v1"})
    config = {"seed": 1, "name": "a", "optim": {"lr": 0.1}, "out": "${name}/x", "tracking": {"uri": None}, "empty": {}}
    config |= {
        "trainer": {"log_every": 5, "precision": "bf16"},
        "data": {"cache_dir": "x", "class_thresholds": {"a": 1}},
        "aug": {"scale": [0.5, 2], "flip": True, "size": None},
    }
    (tmp_path / "a" / ".hydra").mkdir()
    OmegaConf.save(OmegaConf.create(config), tmp_path / "a" / ".hydra" / "config.yaml")
    run = read_run(tmp_path / "a")
    expected = {"optim.lr": "0.1", "out": "${name}/x", "empty": "{}", "trainer.precision": "bf16"}
    assert run.settings == expected | {"aug.scale": "[0.5,2]", "aug.flip": "true", "aug.size": "null"}
    assert run.choices == {"model": "v1", "loss": "ce"}


def test_what_was_typed_is_read_without_what_only_names_a_run(tmp_path):
    path = tmp_path / "overrides.yaml"
    path.write_text("- seed=1\n- +loss.a=2\n- name=x\n- 'data.root=/a=b'\n- optim.lr=1e-3\n", encoding="utf-8")
    assert read_overrides(path) == {"loss.a": "2", "optim.lr": "1e-3"}
    path.write_text("{broken", encoding="utf-8")
    assert read_overrides(path) == {} == read_overrides(tmp_path / "missing.yaml")


def test_a_run_of_a_finished_training_is_read_whole(make_run, tmp_path):
    run = read_run(make_run(tmp_path / "v3-a", model="v3", seed=2, patches=9))
    assert (run.name, run.model, run.seed, run.status) == ("v3-a", "v3", "2", "finished")
    assert run.classes == list(run.class_iou) and run.words["loss"] == "combined"
    matrices, sources = run.matrices() or (None, None)
    assert matrices is not None and sources is not None
    assert matrices.shape == (9, 5, 5) and len(sources) == 9
    assert run.number("stability") == pytest.approx(run.history["val/miou"].values[-2:].std(ddof=1))
    assert run.number("best_val_miou") == pytest.approx(run.history["val/miou"].values.max())


def test_numbers_that_are_missing_or_no_numbers_are_none(tmp_path):
    run = Run(tmp_path, {"gap": None, "st_pixels": "many", "steps": 3})
    assert [run.number(key) for key in ("gap", "st_pixels", "stability", "steps")] == [None, None, None, 3.0]
    assert run.matrices() is None and run.classes == []


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut"])
def test_damaged_matrices_count_as_none(tmp_path, content):
    (tmp_path / "confusion_best.npz").write_bytes(content)
    assert Run(tmp_path, {}).matrices() is None


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('{"status": "finished", "best_val_m', "summary.json is damaged or cut off (Unterminated string"),
        ("[1, 2]", "summary.json holds [1, 2] instead of names and values"),
        ('{"best_val_miou": "abc"}', 'best_val_miou in summary.json is "abc" instead of a number from 0 to 1'),
        ('{"best_val_miou": [0.5]}', "best_val_miou in summary.json is [0.5] instead of a number from 0 to 1"),
        ('{"best_val_miou": -0.1}', "best_val_miou in summary.json is -0.1 instead of a number from 0 to 1"),
        ('{"best_val_miou": NaN}', "best_val_miou in summary.json is NaN instead of a number from 0 to 1"),
        ('{"best_val_miou": true}', "best_val_miou in summary.json is true instead of a number from 0 to 1"),
        ('{"parameters": -5}', "parameters in summary.json is -5 instead of a number of 0 or more"),
        ('{"classes": "road"}', 'classes in summary.json is "road" instead of a list'),
        ('{"class_iou": {"road": 7}}', "class_iou of road in summary.json is 7 instead of a number from 0 to 1"),
        ('{"colors": {"road": 7}}', "the color of road in summary.json is 7 instead of three numbers from 0 to 255"),
    ],
)
def test_a_summary_that_cannot_be_true_is_no_finished_run(tmp_path, text, wrong):
    (tmp_path / "summary.json").write_text(text, encoding="utf-8")
    run = read_run(tmp_path)
    assert run.fault.startswith(wrong) and run.status == "damaged" and not run.finished


def test_a_summary_of_an_older_version_lacks_values_without_being_wrong(make_run, tmp_path):
    assert read_run(make_run(tmp_path / "a")).fault == "" == fault({}) == fault({"gap": None, "classes": None})


def test_a_job_is_called_by_its_sweep_and_number(tmp_path):
    named = Run(tmp_path / "s" / "3", {"name": "3", "sweep": "s"})
    write_json(tmp_path / "t" / "sweep.json", {"jobs": []})
    assert (named.label, Run(tmp_path / "t" / "4", {}).label) == ("s/3", "t/4")
    assert Run(tmp_path / "u" / "v3", {}).label == "v3"


def tagged(folder: Path, **facts) -> Run:
    summary = {"model": "v3", "experiment": "semiseg", "choices": {"pseudo_label": "softmax", "aug": None}, "seed": 1}
    return Run(folder, summary | facts)


@pytest.mark.parametrize(
    ("filters", "taken"),
    [
        ({}, True),
        ({"models": "v3"}, True),
        ({"models": ["v1", "v*"]}, True),
        ({"models": ["v1", "v2"]}, False),
        ({"experiments": "other"}, False),
        ({"tags": "softmax"}, True),
        ({"tags": "pseudo_label:softmax"}, True),
        ({"tags": "loss:softmax"}, False),
        ({"tags": "sweep:sweep-2026*"}, True),
        ({"tags": "seed:1", "models": "v1"}, False),
        ({"tags": "mine"}, True),
    ],
)
def test_filters_take_what_fits_all_of_them(tmp_path, filters, taken):
    run = tagged(tmp_path, sweep="sweep-20261121-1", tags={"note": "mine"})
    assert CompareConfig(**filters).filters().take(run) == taken


def test_runs_are_taken_by_the_day_they_started(tmp_path):
    noon = 1_795_262_400  # 2026-11-21, 12:00 UTC
    lines = [{"step": 1, "time": noon}, {"step": 2, "time": noon + 9e6}]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    run = tagged(tmp_path)
    assert run.started == date.fromtimestamp(noon)
    assert Filters(since=date(2026, 11, 20), until=date(2026, 11, 22)).take(run)
    assert not Filters(since=date(2026, 11, 23)).take(run)
    assert not Filters(until=date(2026, 11, 19)).take(run)


def test_a_run_that_logged_nothing_started_when_its_folder_was_made(tmp_path):
    os.utime(tmp_path, (1_700_000_000, 1_700_000_000))
    assert tagged(tmp_path).started == date.fromtimestamp(1_700_000_000)


def test_a_day_that_is_no_date_is_refused():
    with pytest.raises(ConfigError, match="since=yesterday is no day: write it as since=2026-11-30"):
        CompareConfig(since="yesterday")
