import csv
import io
import os
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from semiseg.config import conf_dir
from semiseg.doctor import judge
from semiseg.errors import ConfigError, SemisegError
from semiseg.files import write_json
from semiseg.report.collect import find_runs, read_run
from semiseg.report.compare import Comparison, compare, main


@pytest.fixture
def runs(make_run, tmp_path) -> Path:
    """V1 and V3 with two seeds each, and a V1 that was interrupted."""
    folder = tmp_path / "runs" / "exp"
    for seed in range(2):
        make_run(
            folder / f"a{seed}",
            model="v3",
            seed=seed,
            miou=0.6,
            summary={"status": ("finished", "stopped early")[seed]},
        )
        make_run(folder / f"b{seed}", model="v1", seed=seed, miou=0.4)
    make_run(folder / "c0", model="v1", miou=0.9, summary={"status": "interrupted"})
    return tmp_path / "runs"


def configured(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("compare", overrides=list(overrides))


def compared(root: Path, baseline: str | None = None) -> Comparison:
    return compare(find_runs(root), root, baseline)


def tables(comparison: Comparison) -> dict[str, list[list[str]]]:
    sections = [*(each for several in comparison.sections for each in several), comparison.leftovers]
    return {f"{section.title} / {table.title}": table.rows for section in sections for table in section.tables}


def test_finished_runs_are_compared_and_unfinished_ones_named(runs):
    comparison = compared(runs)
    found = tables(comparison)
    scores = found["Scores / Scores, held against v1"]
    assert [(row[0], row[1], row[5]) for row in scores] == [("v3", "0, 1", "better"), ("v1", "0, 1", "baseline")]
    assert [row[:4] for row in found["Not in the comparison / Unfinished runs"]] == [
        ["exp/c0", "v1", "0", "interrupted"]
    ]
    assert comparison.facts["Runs"].startswith("4 compared, 1 unfinished, below")
    expected = {
        "Side by side",
        "Scores",
        "Classes",
        "Pseudo labels",
        "Efficiency",
        "Criteria and bad signs",
        "Configurations",
        "Provenance",
    }
    assert expected <= {section.title for section in comparison.sections[0]}


def test_a_baseline_can_be_chosen(runs):
    assert "Scores / Scores, held against v3" in tables(compared(runs, "a1"))
    with pytest.raises(SemisegError, match=r"baseline=v9 is none .* v1, v3"):
        compared(runs, "v9")


def test_a_baseline_that_fits_several_recipes_is_told_of(runs, make_run):
    make_run(runs / "exp" / "slow", model="v1", overrides={"optim.lr": 1e-5})
    comparison = compared(runs, "v1")
    assert comparison.facts["Baseline"].endswith(" (one of 2 that fit)")
    (note,) = [note for section in comparison.sections[0] for note in section.notes if "fits 2 recipes" in note]
    assert "v1 optim.lr=0.00025" in note and "v1 optim.lr=1e-05" in note
    assert compared(runs, "v1 optim.lr=1e-05").facts["Baseline"] == "v1 optim.lr=1e-05"


def test_a_summary_that_cannot_be_true_is_named_and_left_out(runs, make_run):
    make_run(runs / "exp" / "wrong", model="v1", seed=2, summary={"best_val_miou": "abc"})
    comparison = compared(runs)
    rows = {row[0]: row for row in tables(comparison)["Not in the comparison / Unfinished and damaged runs"]}
    assert rows["exp/wrong"][3:5] == [
        "damaged",
        'best_val_miou in summary.json is "abc" instead of a number from 0 to 1',
    ]
    assert comparison.facts["Runs"].startswith("4 compared, 1 unfinished, 1 with a damaged summary, below")


def test_runs_on_other_data_are_apart_and_the_report_says_why(runs, make_run):
    make_run(runs / "other", fingerprint="bb", patches=6)
    comparison = compared(runs, "v1")
    assert [cohort.title for cohort in comparison.cohorts] == ["data 1", "data 2"]
    assert comparison.cohorts[1].baseline is None
    first = comparison.sections[1][0]
    assert "Not compared with data 1: other patches or another split" in first.intro
    assert "Scores of 2 kinds of evaluation cannot be compared" in comparison.leftovers.notes[0]


def test_one_run_and_none_finished_are_reports_too(make_run, tmp_path):
    make_run(tmp_path / "a")
    found = tables(compared(tmp_path))
    assert found["Scores / Scores, held against v3"][0][0] == "v3"
    assert "What differs between the configurations" not in " ".join(found)
    write_json(tmp_path / "a" / "summary.json", {"status": "failed"})
    comparison = compared(tmp_path)
    assert comparison.cohorts == [] and comparison.leftovers.notes[0].startswith("No run has finished")


def test_runs_of_older_versions_are_reported_as_far_as_they_go(tmp_path):
    facts = {"status": "finished", "model": "v3", "seed": 0, "best_val_miou": 0.5, "choices": {"loss": "ce"}}
    write_json(tmp_path / "old" / "summary.json", facts | {"data_fingerprint": "a"})
    write_json(tmp_path / "bare" / "summary.json", {"status": "finished"})
    comparison = compared(tmp_path)
    assert len(comparison.cohorts) == 2
    assert any(note.startswith("bare, old: no .hydra/config.yaml, so") for note in comparison.leftovers.notes)


@pytest.fixture(scope="module")
def report(make_run, tmp_path_factory) -> tuple[Path, str]:
    """The folder of a whole report, and what was printed."""
    root = tmp_path_factory.mktemp("runs")
    for seed in range(2):
        make_run(root / f"a{seed}", model="v3", seed=seed, miou=0.6)
        make_run(root / f"b{seed}", model="v1", seed=seed, miou=0.4)
    make_run(root / "c", summary={"status": "failed"})
    make_run(root / "older", model="v3", seed=0, miou=0.6)
    os.utime(root / "older" / "metrics.jsonl", (1, 1))
    jobs: list[dict[str, object]] = [{"number": 4, "overrides": ["optim.lr=9"], "status": "failed", "error": "NaN"}]
    jobs.append({"number": 5, "overrides": ["optim.lr=1"], "status": "failed", "error": "continued by itself since"})
    make_run(root / "s" / "5", model="v2", miou=0.5, summary={"sweep": "s", "name": "5"})
    write_json(root / "s" / "sweep.json", {"jobs": jobs})
    printed = io.StringIO()
    with redirect_stdout(printed):
        main(configured(f"runs='{root.as_posix()}'", "tracking=none"))
    return root / "report", printed.getvalue()


def test_a_class_that_is_never_a_pseudo_label_is_no_obstacle(make_run, tmp_path):
    thresholds = {"pseudo_label.class_thresholds": {"building": 0.6, "land": None, "road": 0.5}}
    classes = {"building": (60, 16, 152), "land": (132, 41, 246), "road": (110, 193, 228)}
    folder = make_run(tmp_path / "a", model="v3", classes=classes, overrides=thresholds)
    assert "null" in (folder / ".hydra" / "config.yaml").read_text(encoding="utf-8")
    run = read_run(folder)
    wide = {name: each for name, each in run.history.items() if name != "st/coverage"}  # a batch of any size
    summary = {key: value for key, value in run.summary.items() if key != "st_coverage"}
    missed = [row.remedy for row in judge(summary, wide, run.settings).criteria if not row.met]
    assert any("class_thresholds=[0.5" in remedy and "null" in remedy for remedy in missed), missed


def test_the_verb_prints_the_tables(report):
    _, printed = report
    for text in ("Scores, held against v1", "better", "Unfinished runs", "optim.lr=9", "report.html"):
        assert text in printed
    assert max(map(len, printed.splitlines()[:-3])) <= 160 and "Good signs" not in printed


def test_the_verb_writes_page_markdown_csv_and_figures(report):
    out, _ = report
    markdown = (out / "report.md").read_text(encoding="utf-8")
    for text in (
        "# Comparison of runs",
        "| v3 | 0, 1 |",
        "cannot be compared: the first counts images",
        "## Provenance",
        "NaN",
    ):
        assert text in markdown
    links = [line.partition("](")[2].rstrip(")") for line in markdown.splitlines() if line.startswith("![")]
    assert links and all((out / link).is_file() and (out / link).with_suffix(".svg").is_file() for link in links)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Scores, held against v1" in page and "Provenance" in page
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        lines = {line["name"]: line for line in csv.DictReader(file)}
    assert lines["a1"]["status"] == "finished" and lines["a1"]["left_out"] == ""
    assert lines["b0"]["loss"] == "ce" and float(lines["b0"]["iou/Jalan"]) < float(lines["a0"]["iou/Jalan"])
    assert (lines["a0"]["recipe"], lines["a0"]["verdict"], lines["b1"]["verdict"]) == ("v3", "better", "baseline")
    assert 0 < float(lines["a0"]["low"]) < float(lines["a0"]["difference"]) < float(lines["a1"]["high"])
    left_out = {name: (line["status"], line["left_out"], line["sweep"]) for name, line in lines.items()}
    assert left_out["c"] == ("failed", "ended with an error", "") and left_out["4"] == ("failed", "NaN", "s")
    assert left_out["older"] == ("finished", "a later run has the same recipe, seed and data", "")
    assert left_out["5"] == ("finished", "", "s") and lines["older"]["recipe"] == ""
    assert "6 compared" not in markdown and "5 compared, 1 repeated, 1 unfinished, 1 failed in sweeps" in markdown
    assert "| s/5 | v2 |" in markdown  # not the number alone
    assert len(find_runs(out.parent).runs) == 7  # the report is no run


def test_filters_that_nothing_fits_say_so(runs):
    with pytest.raises(SemisegError, match=r"None of the 5 runs fits models=v7 since=2020-01-01\."):
        main(configured(f"runs='{runs.as_posix()}'", "tracking=none", "models=v7", "since=2020-01-01"))


def test_a_group_of_train_is_no_filter(runs):
    with pytest.raises(ConfigError, match=r"model.*: settings of a training, .* models=WORD"):
        main(configured(f"runs='{runs.as_posix()}'", "tracking=none", "+model=v1"))


def test_no_run_says_what_to_type(tmp_path):
    with pytest.raises(SemisegError, match=r"holds no run yet: train one \(python train\.py\)"):
        main(configured(f"runs='{tmp_path.as_posix()}'", "tracking=none"))


def test_a_store_that_does_not_answer_leaves_the_rest_of_the_report(runs, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("semiseg.report.compare.draw", lambda *_: [])
    monkeypatch.setattr("semiseg.report.compare.tracker_of", lambda *_: None)
    main(configured(f"runs='{runs.as_posix()}'", "mlflow=exp", "tracking.uri='http://127.0.0.1:9'"))
    printed = capsys.readouterr().out
    assert "http://127.0.0.1:9 does not answer" in " ".join(printed.split()) and "Scores, held against v1" in printed


def test_reading_from_mlflow_without_a_store_is_an_error(runs):
    with pytest.raises(ConfigError, match="mlflow= needs a store"):
        main(configured(f"runs='{runs.as_posix()}'", "mlflow=exp", "tracking=none"))
