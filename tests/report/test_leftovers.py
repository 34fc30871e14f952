import json

import pytest

from semiseg.report.collect import find_runs, read_run
from semiseg.report.contents import section_of_leftovers
from semiseg.report.leftovers import cut, failed_jobs, gaps, job_table, some, unfinished_table
from semiseg.tracking import write_json


def test_unfinished_runs_are_named_with_how_far_they_came(make_run, tmp_path):
    make_run(tmp_path / "stopped", model="v1", summary={"status": "interrupted"}, steps=40)
    make_run(tmp_path / "killed")
    (tmp_path / "killed" / "summary.json").unlink()
    make_run(tmp_path / "damaged")
    (tmp_path / "damaged" / "summary.json").write_text('{"status": "fini', encoding="utf-8")
    (tmp_path / "young").mkdir()
    (tmp_path / "young" / "log.txt").write_text("", encoding="utf-8")
    cells = unfinished_table(find_runs(tmp_path).runs, tmp_path)
    rows = {row[0]: row[1:] for row in cells.rows}
    assert rows["stopped"][:4] == ["v1", "interrupted", "stopped by hand", "40"] and rows["stopped"][4].startswith("0.")
    assert rows["killed"][:3] == ["?", "no summary", "still running, or killed before its end"]
    assert rows["damaged"][2] == "summary.json is damaged" and rows["damaged"][3] == "100"
    assert rows["young"][3:] == ["", ""]


def test_jobs_without_a_result_are_named_with_their_error(tmp_path):
    jobs = [
        {"number": 0, "overrides": ["model=v1"], "status": "finished", "folder": "0"},
        {"number": 1, "overrides": ["model=v1", "optim.lr=-1"], "status": "failed", "error": "lr is negative"},
        {"number": 2, "overrides": ["model=v2"], "status": "missing", "error": None, "folder": "2"},
        {"number": 3, "overrides": ["model=v3"], "status": "running", "folder": "3"},
    ]
    write_json(tmp_path / "sweep-a" / "sweep.json", {"jobs": jobs})
    found, notes = failed_jobs([tmp_path / "sweep-a" / "sweep.json"])
    assert notes == [] and [job.folder for job in found] == [tmp_path / "sweep-a" / "1", tmp_path / "sweep-a" / "2"]
    assert job_table(found).rows == [
        ["sweep-a", "1", "model=v1 optim.lr=-1", "failed", "lr is negative"],
        ["sweep-a", "2", "model=v2", "missing", ""],
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"jobs": [{}]}', '{"jobs": 3}'])
def test_a_damaged_sweep_file_is_noted(tmp_path, text):
    (tmp_path / "sweep.json").write_text(text, encoding="utf-8")
    jobs, notes = failed_jobs([tmp_path / "sweep.json"])
    assert jobs == [] and "cannot be read" in notes[0]


def test_a_failed_job_is_not_told_of_twice(make_run, tmp_path):
    make_run(tmp_path / "s" / "0", summary={"status": "failed"})
    make_run(tmp_path / "other", summary={"status": "failed"})
    write_json(tmp_path / "s" / "sweep.json", {"jobs": [{"number": 0, "overrides": [], "status": "failed"}]})
    found = find_runs(tmp_path)
    jobs, _ = failed_jobs(found.sweeps)
    section = section_of_leftovers(found.runs, jobs, [], ["a note"], tmp_path)
    assert [[row[0] for row in table.rows] for table in section.tables] == [["s"], ["other"]]
    assert section.notes == ["a note"]


def test_what_finished_runs_lack_is_noted(make_run, tmp_path):
    folder = make_run(tmp_path / "a")
    assert gaps([read_run(folder)], tmp_path) == []
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 999})[:-3])
    assert gaps([read_run(folder)], tmp_path) == ["a: metrics.jsonl ends in a cut line, which is passed over."]
    for name in ("metrics.jsonl", "confusion_best.npz", "examples.npz", ".hydra/config.yaml"):
        (folder / name).unlink()
    notes = gaps([read_run(folder)] * 2, tmp_path)
    assert all(note.startswith("a, a: ") for note in notes) and len(notes) == 4
    assert all(word in " ".join(notes) for word in ("config.yaml", "no curves", "no intervals", "no pictures"))
    assert some([str(number) for number in range(12)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"


def test_an_empty_or_missing_file_is_not_cut(tmp_path):
    assert not cut(tmp_path / "missing")
    (tmp_path / "empty").touch()
    assert not cut(tmp_path / "empty")
