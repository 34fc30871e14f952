import csv
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from semiseg.errors import SemisegError
from semiseg.report.compare import compare_runs, main
from semiseg.tracking import write_json

CONF = Path(__file__).parents[2] / "conf" / "compare.yaml"


@pytest.fixture
def runs(tmp_path) -> Path:
    def add(name: str, model: str, miou: float, **facts) -> None:
        summary = {"status": "finished", "name": name, "model": model, "seed": 0, "data_fingerprint": "aa"}
        summary |= {"best_val_miou": miou, "choices": {"loss": "ce"}, "class_iou": {"Jalan": miou}, "steps": 200}
        write_json(tmp_path / "runs" / "exp" / name / "summary.json", summary | facts)

    add("a0", "v3", 0.6)
    add("a1", "v3", 0.7, seed=1, status="stopped early")
    add("b0", "v1", 0.5)
    add("b1", "v1", 0.9, status="interrupted")
    return tmp_path / "runs"


def test_finished_runs_are_compared_and_unfinished_ones_named(runs):
    comparison = compare_runs(runs, baseline="v1")
    assert comparison.tables[0].rows == [
        ["v3", "0, 1", "0.6500 ± 0.0707", "+0.1500"],
        ["v1", "0", "0.5000", "baseline"],
    ]
    assert comparison.notes == ["Not in the tables: exp/b1 (interrupted after 200 steps)"]


def test_runs_on_other_data_get_tables_of_their_own(runs):
    write_json(runs / "c" / "summary.json", {"status": "finished", "model": "v2", "data_fingerprint": "bb", "gap": 0.1})
    comparison = compare_runs(runs, baseline="b0")
    titles = [table.title for table in comparison.tables]
    assert titles == ["Scores on data 1 (bb)", "Scores on data 2 (aa)", "Class IoU on data 2 (aa)"]
    assert "cannot be compared" in comparison.notes[0]
    assert [row[0] for row in comparison.tables[1].rows] == ["v3", "v1"]


def test_an_unknown_baseline_names_the_known_ones(runs):
    with pytest.raises(SemisegError, match=r"baseline=v9 .* v1, v3"):
        compare_runs(runs, baseline="v9")


def test_the_verb_prints_and_writes_the_report(runs, capsys):
    cfg = OmegaConf.to_container(OmegaConf.load(CONF))
    assert isinstance(cfg, dict)
    assert {"runs": "runs", "baseline": None, "out": "${runs}/report"}.items() <= cfg.items()
    main(OmegaConf.create(cfg | {"runs": str(runs)}))
    shown = capsys.readouterr().out
    assert "0.6500 ± 0.0707" in shown and "report.md" in shown
    report = (runs / "report" / "report.md").read_text(encoding="utf-8")
    assert "| v3 | 0, 1 | 0.6500 ± 0.0707 |" in report and "- Not in the tables: exp/b1" in report
    with (runs / "report" / "results.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(row["name"], row["status"], row["loss"], row["iou/Jalan"]) for row in lines] == [
        ("a0", "finished", "ce", "0.6"),
        ("a1", "stopped early", "ce", "0.7"),
        ("b0", "finished", "ce", "0.5"),
        ("b1", "interrupted", "ce", "0.9"),
    ]
    assert len(compare_runs(runs).runs) == 4  # the report folder is no run
