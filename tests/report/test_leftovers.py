import json

import pytest

from semiseg.files import write_json
from semiseg.report.collect import find_runs, read_run
from semiseg.report.compare import compare
from semiseg.report.leftovers import cut, gaps, job_table, logged_error, open_jobs, some, spans, unfinished_table
from semiseg.run_lock import RunLock


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
    stopped = rows["stopped"]
    assert stopped[:5] == ["v1", "0", "interrupted", "stopped by hand", "40"] and stopped[5].startswith("0.")
    assert rows["killed"][:4] == ["v3", "0", "no summary", "still running, or killed before its end"]
    assert rows["damaged"][2] == "damaged" and rows["damaged"][4] == "100"
    assert rows["damaged"][3].startswith("summary.json is damaged or cut off (")
    assert rows["young"][:2] == ["?", "?"] and rows["young"][4:] == ["", ""]


def test_jobs_without_a_result_are_named_with_their_error(tmp_path):
    jobs = [
        {"number": 0, "overrides": ["model=v1"], "status": "finished", "folder": "0"},
        {"number": 1, "overrides": ["model=v1", "optim.lr=-1"], "status": "failed", "error": "lr is negative"},
        {"number": 2, "overrides": ["model=v2"], "status": "missing", "error": None, "folder": "2"},
        {"number": 3, "overrides": ["model=v3"], "status": "running", "folder": "3"},
    ]
    write_json(tmp_path / "sweep-a" / "sweep.json", {"jobs": jobs})
    found, notes = open_jobs([tmp_path / "sweep-a" / "sweep.json"])
    assert notes == [] and [job.folder for job in found] == [tmp_path / "sweep-a" / number for number in "123"]
    assert job_table(found[:2]).rows == [
        ["sweep-a", "1", "model=v1 optim.lr=-1", "failed", "lr is negative"],
        ["sweep-a", "2", "model=v2", "missing", ""],
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"jobs": [{}]}', '{"jobs": 3}'])
def test_a_damaged_sweep_file_is_noted(tmp_path, text):
    (tmp_path / "sweep.json").write_text(text, encoding="utf-8")
    jobs, notes = open_jobs([tmp_path / "sweep.json"])
    assert jobs == [] and "cannot be read" in notes[0]


def test_what_a_sweep_has_not_done_yet_is_no_failure(make_run, tmp_path):
    """Of a sweep with 27 jobs one is done, one failed, three run, of which one has no folder yet, and 22 wait."""
    sweep = tmp_path / "s"
    statuses = ["finished", "failed", "running", "running", "running", *["waiting"] * 22]
    same = [f"model.option_{number}=1" for number in range(20)]
    rows = [{"number": n, "overrides": [*same, f"optim.lr=0.0{n}0000000000001"], "status": status, "folder": str(n),
             "varied": [f"optim.lr=0.0{n}0000000000001"], "error": None}
            for n, status in enumerate(statuses)]  # fmt: skip
    make_run(sweep / "0")
    for number in (2, 3):
        make_run(sweep / str(number), steps=40)
        (sweep / str(number) / "summary.json").unlink()
    make_run(sweep / "1", summary={"status": "failed"})
    (sweep / "1" / "log.txt").write_text("iteration 5\nsemiseg: the loss is NaN\n", encoding="utf-8")
    write_json(sweep / "sweep.json", {"jobs": rows})
    lock = RunLock(sweep)
    lock.acquire()
    comparison = compare(find_runs(tmp_path), tmp_path, None)
    lock.release()
    assert comparison.facts["Runs"].startswith(
        "1 compared, 1 failed in sweeps, 3 running in sweeps, 22 waiting in sweeps, below"
    )
    failed, unfinished = comparison.leftovers.tables
    assert failed.rows == [["s", "1", "optim.lr=0.01", "failed", "the loss is NaN"]]
    assert [row[:1] + row[3:6] for row in unfinished.rows] == [
        [f"s/{number}", "running", "its sweep is under way", "40"] for number in (2, 3)
    ]
    assert "s: 22 waiting: 5-26." in comparison.leftovers.notes
    killed = compare(find_runs(tmp_path), tmp_path, None)
    assert killed.facts["Runs"].startswith("1 compared, 1 failed in sweeps, 3 interrupted in sweeps, 22 waiting")
    assert spans([7, 1, 5, 6]) == "1, 5-7"


@pytest.mark.parametrize(
    ("log", "error"),
    [
        ("start\nsemiseg: first\nsemiseg: data.root=/x is no folder\nbye\n", "data.root=/x is no folder"),
        (
            "Traceback (most recent call last):\n  File x\ntorch.OutOfMemoryError: CUDA\n",
            "torch.OutOfMemoryError: CUDA",
        ),
        ("iteration 5: no error here\n", ""),
        ("", ""),
    ],
)
def test_the_error_at_the_end_of_a_log_is_quoted(make_run, tmp_path, log, error):
    folder = make_run(tmp_path / "a", summary={"status": "failed"})
    (folder / "log.txt").write_text(log, encoding="utf-8")
    assert logged_error(folder) == error
    (row,) = unfinished_table([read_run(folder)], tmp_path).rows
    assert row[3:5] == ["failed", error or "ended with an error"]
    (folder / "log.txt").unlink()
    assert logged_error(folder) == ""


def test_a_failed_job_is_not_told_of_twice(make_run, tmp_path):
    make_run(tmp_path / "s" / "0", summary={"status": "failed"})
    make_run(tmp_path / "other", summary={"status": "failed"})
    write_json(tmp_path / "s" / "sweep.json", {"jobs": [{"number": 0, "overrides": [], "status": "failed"}]})
    found = find_runs(tmp_path)
    jobs, _ = open_jobs(found.sweeps)
    comparison = compare(found, tmp_path, None, ["a note"])
    assert [job.folder for job in jobs] == [tmp_path / "s" / "0"]
    assert [[row[0] for row in table.rows] for table in comparison.leftovers.tables] == [["s"], ["other"]]
    assert comparison.leftovers.notes[0] == "a note"
    assert comparison.facts["Runs"].startswith("0 compared, 1 unfinished, 1 failed in sweeps, below")


def test_what_finished_runs_lack_is_noted(make_run, tmp_path):
    folder = make_run(tmp_path / "a")
    assert gaps([read_run(folder)], tmp_path) == []
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 999})[:-3])
    assert gaps([read_run(folder)], tmp_path) == ["a/metrics.jsonl: ends in a cut line, which is passed over."]
    for name in ("metrics.jsonl", "confusion_best.npz", "examples.npz", ".hydra/config.yaml"):
        (folder / name).unlink()
    notes = gaps([read_run(folder)] * 2, tmp_path)
    assert all(note.startswith("a, a: ") for note in notes) and len(notes) == 4
    assert all(word in " ".join(notes) for word in ("config.yaml", "no curves", "no intervals", "no pictures"))
    assert some([str(number) for number in range(12)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"


def test_what_is_damaged_is_named_with_its_path_and_not_called_missing(make_run, tmp_path):
    folder = make_run(tmp_path / "a")
    for name in ("confusion_best.npz", "examples.npz"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
    (folder / ".hydra" / "config.yaml").write_text("{broken", encoding="utf-8")
    assert gaps([read_run(folder)], tmp_path) == [
        "a/.hydra/config.yaml: damaged, so what differs is not shown.",
        "a/confusion_best.npz: damaged, hence no intervals.",
        "a/examples.npz: damaged, hence no pictures.",
    ]


def test_an_empty_or_missing_file_is_not_cut(tmp_path):
    assert not cut(tmp_path / "missing")
    (tmp_path / "empty").touch()
    assert not cut(tmp_path / "empty")
