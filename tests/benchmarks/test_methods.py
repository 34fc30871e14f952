import importlib.util
import json
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from semiseg.config import conf_dir

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def methods(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("benchmarks_methods", FOLDER / "methods.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def result(method: str, labels: str, seed: int, final: float, st: bool = False) -> dict:
    history = {"val/miou": [[1, 0.1], [6, final]], "val/iou/road": [[1, 0.9], [6, final]]}
    if st:
        history |= {"st/coverage": [[6, 0.1], [6, 0.5]], "st/precision": [[1, 0.7], [6, 0.8]]}
        history |= {"st/coverage/road": [[6, 0.25]], "st/precision/road": [[6, 0.75]]}
    facts = {"best_val_miou": 0.9, "final_val_miou": final, "class_iou": {"road": 0.9}, "seconds_per_step": 2.0}
    facts |= {"st_coverage": 0.5 if st else None, "st_precision": None}
    return {"method": method, "labels": labels, "seed": seed, "steps": 6, "history": history, **facts}


@pytest.fixture
def rows() -> list[dict]:
    return [
        result("none", "few", 0, 0.4),
        result("none", "all", 0, 0.6),
        result("V3", "few", 0, 0.4, st=True),
        result("V3", "few", 1, 0.5, st=True),
    ]


def cells(lines: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("|---")]


def test_the_plan_is_seed_by_seed_and_shares_the_ceiling(methods):
    jobs = list(dict.fromkeys(methods.plan(["few", "1_8"], [0, 1], 60)))
    assert [(job.labels, job.method, job.seed) for job in jobs[:6]] == [
        ("few", "none", 0), ("few", "V3", 0), ("few", "V1", 0), ("all", "none", 0), ("few", "V2", 0),
        ("few", "none", 1),
    ]  # fmt: skip
    assert len({job.name for job in jobs}) == len(jobs) == 2 + 2 * 2 * 5
    assert {job.method for job in jobs[-4:]} == {"V3 global"}


@pytest.mark.parametrize(("method", "start"), [("none", None), ("V1", 20), ("V2", 10), ("V3", 10), ("V3 global", 10)])
def test_overrides_compose(methods, method, start):
    overrides = methods.Job("all", method, 3, 60).overrides()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("train", overrides=[*overrides, "name=x"])
    assert (config.seed, config.data.labeled_list, config.trainer.eval_every) == (3, None, 10)
    assert start is None or config.pseudo_label.start_step == start


def test_the_main_table_has_final_means_and_the_gap_closed(methods, rows):
    header, none, v3, ceiling = cells(methods.main_table(rows, "few"))
    assert "final IoU road" in header
    columns = [header.index(name) for name in ("seeds", "final val mIoU", "gap closed", "final IoU road")]
    assert [none[i] for i in columns] == ["1", "0.400", "0%", "0.400"]
    assert [v3[i] for i in columns] == ["2", "0.450 ± 0.071", "25%", "0.450 ± 0.071"]
    assert [ceiling[i] for i in columns] == ["1", "0.600", "100%", "0.600"]


def test_pseudo_labels_over_time_and_by_class(methods, rows):
    assert cells(methods.time_table(rows, "few")) == [
        ["few labels", "ST", "step 1", "step 6"],
        ["V3", "coverage", "-", "0.500 ± 0.000"],  # of two records of a step the later one
        ["V3", "precision", "0.700 ± 0.000", "0.800 ± 0.000"],
    ]
    assert cells(methods.class_table(rows, "few"))[1] == [
        "V3", "road", "0.250 ± 0.000", "0.750 ± 0.000", "0.450 ± 0.071",
    ]  # fmt: skip
    assert methods.time_table(rows, "1_8") == []


def test_figures_keep_the_evaluations_and_skip_what_is_not_finite(methods, tmp_path):
    records = [{"step": s, "val/miou": s / 100, "st/precision": None, "loss/ce": 1.0} for s in (5, 10, 60, 62)]
    text = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "metrics.jsonl").write_text(text, encoding="utf-8")
    found = methods.figures(methods.Job("few", "none", 0, 62), {"gap": 0.1}, tmp_path)
    assert found["history"] == {"val/miou": [[10, 0.1], [60, 0.6], [62, 0.62]]} and found["gap"] == 0.1


def test_report_only_prints(methods, monkeypatch, tmp_path, rows, capsys):
    monkeypatch.setattr(methods, "RESULTS", tmp_path)
    for number, row in enumerate(rows):
        (tmp_path / f"{number}.json").write_text(json.dumps(row), encoding="utf-8")
    monkeypatch.setattr(methods, "train", lambda *_: pytest.fail("it trains"))
    monkeypatch.setattr(sys, "argv", ["methods.py", "steps=6", "lists=few", "report=true"])
    methods.main()
    shown = capsys.readouterr().out
    assert "25%" in shown and "step 6" in shown and "runs to do" not in shown


def test_a_failed_job_ends_with_an_error(methods, monkeypatch, tmp_path):
    def fail(*_):
        raise methods.SemisegError("no data")

    monkeypatch.setattr(methods, "RESULTS", tmp_path)
    monkeypatch.setattr(methods, "train", fail)
    monkeypatch.setattr(sys, "argv", ["methods.py", "steps=6", "lists=few", "seeds=0"])
    with pytest.raises(SystemExit, match="6 runs failed"):
        methods.main()
