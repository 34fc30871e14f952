from pathlib import Path

import pytest
from omegaconf import OmegaConf

from semiseg.errors import SemisegError
from semiseg.report.collect import Group, Run, collect_runs, group_runs
from semiseg.tracking import write_json


def run(seed: int, miou: float | None, lr: str = "0.1", **summary) -> Run:
    facts = {"status": "finished", "model": "v3", "seed": seed, "best_val_miou": miou} | summary
    return Run(Path(f"run{seed}"), facts, {"optim.lr": lr})


def test_runs_are_found_at_any_depth_and_nothing_else_is(tmp_path):
    for folder in ("exp/a", "multirun/2026-11-21/0", "mlartifacts/1/x", "cache/y", "exp/a/checkpoints/z", ".trash/b"):
        write_json(tmp_path / folder / "summary.json", {"status": "finished"})
    (tmp_path / "exp" / "crashed").mkdir()
    (tmp_path / "exp" / "crashed" / "log.txt").write_text("started", encoding="utf-8")
    (tmp_path / "exp" / "cut").mkdir()
    (tmp_path / "exp" / "cut" / "summary.json").write_text('{"status": "fin', encoding="utf-8")
    runs = collect_runs(tmp_path)
    found = {r.folder.relative_to(tmp_path).as_posix(): r.finished for r in runs}
    assert found == {"exp/a": True, "exp/crashed": False, "exp/cut": False, "multirun/2026-11-21/0": True}


@pytest.mark.parametrize("folder", ["", "missing"])
def test_no_run_says_what_to_type(tmp_path, folder):
    with pytest.raises(SemisegError, match=r"python train\.py.*runs=FOLDER"):
        collect_runs(tmp_path / folder)


def test_settings_leave_out_what_only_names_a_run(tmp_path):
    write_json(tmp_path / "a" / "summary.json", {"choices": {"loss": "ce", "tracking": "none"}, "model": "v1"})
    config = {"seed": 1, "name": "a", "optim": {"lr": 0.1}, "out": "${name}/x", "tracking": {"uri": None}, "empty": {}}
    config |= {
        "trainer": {"log_every": 5, "precision": "bf16"},
        "data": {"cache_dir": "x", "class_thresholds": {"a": 1}},
    }
    (tmp_path / "a" / ".hydra").mkdir()
    OmegaConf.save(OmegaConf.create(config), tmp_path / "a" / ".hydra" / "config.yaml")
    (found,) = collect_runs(tmp_path)
    assert found.settings == {"optim.lr": "0.1", "out": "${name}/x", "empty": "{}", "trainer.precision": "bf16"}
    assert found.choices == {"model": "v1", "loss": "ce"}


def test_seeds_are_grouped_and_other_settings_are_not():
    groups = group_runs([run(1, 0.5), run(0, 0.7), run(0, 0.65, lr="0.2"), run(2, None)])
    assert [group.seeds for group in groups] == [["0"], ["0", "1", "2"]]
    mean, sd = groups[1].mean_sd("best_val_miou") or (0.0, None)
    assert mean == pytest.approx(0.6) and sd == pytest.approx(0.1 * 2**0.5)


def test_one_run_has_no_deviation_and_a_missing_fact_no_mean():
    group = Group((run(0, 0.5),))
    assert group.mean_sd("best_val_miou") == (0.5, None)
    assert group.mean_sd("st_precision") is None
