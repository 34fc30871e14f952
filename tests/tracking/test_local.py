import json
import math
from pathlib import Path

import pytest

from semiseg.files import append_text
from semiseg.tracking.local import MetricsFile, MetricsReader, read_metrics


@pytest.fixture
def metrics(tmp_path: Path) -> MetricsFile:
    file = MetricsFile(tmp_path / "run" / "metrics.jsonl")
    for step in (10, 20, 30):
        file.log({"loss/ce": step / 100}, step)
    return file


def test_a_line_is_on_disk_as_soon_as_it_is_logged(metrics):
    lines = metrics.path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10, 20, 30]
    assert json.loads(lines[0]).keys() == {"step", "time", "loss/ce"}


def test_resume_drops_later_steps_and_logs_nothing_twice(metrics):
    before = metrics.path.read_text(encoding="utf-8").splitlines()[:2]
    metrics.truncate_after(20)
    assert metrics.path.read_text(encoding="utf-8").splitlines() == before
    resumed = MetricsFile(metrics.path)
    resumed.log({"loss/ce": 0.5}, 30)
    assert [(r["step"], r["loss/ce"]) for r in resumed.read()] == [(10, 0.1), (20, 0.2), (30, 0.5)]


def test_a_cut_last_line_is_passed_over_and_removed_on_resume(metrics):
    with metrics.path.open("a", encoding="utf-8") as file:
        file.write('{"step": 40, "loss/c')
    assert [r["step"] for r in metrics.read()] == [10, 20, 30]
    metrics.truncate_after(100)
    metrics.log({"loss/ce": 0.4}, 40)
    assert [r["step"] for r in metrics.read()] == [10, 20, 30, 40]


def test_a_line_of_brackets_is_passed_over(metrics):
    with metrics.path.open("a", encoding="utf-8") as file:
        file.write("[" * 100_000 + "\n")
    assert [r["step"] for r in metrics.read()] == [10, 20, 30]


def test_truncating_before_anything_was_logged_is_fine(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.truncate_after(5)
    assert file.read() == [] == read_metrics(tmp_path / "other.jsonl")


def test_values_that_are_not_finite_stay_valid_json(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.log({"a": math.nan, "b": math.inf, "c": 1.0}, 1)
    assert "NaN" not in file.path.read_text(encoding="utf-8")
    (record,) = file.read()
    assert math.isnan(record["a"]) and math.isnan(record["b"]) and record["c"] == 1.0


def test_a_disk_that_cannot_be_written_is_warned_of_once(tmp_path):
    warnings: list[str] = []
    file = MetricsFile(tmp_path / "metrics.jsonl", warnings.append)
    file.path.mkdir()  # opening a folder for writing fails like a full disk: with an OSError
    file.log({"a": 1.0}, 1)
    file.log({"a": 1.0}, 2)
    assert len(warnings) == 1 and str(file.path) in warnings[0]


def test_a_line_that_a_full_disk_cut_takes_no_other_along(tmp_path, monkeypatch):
    file = MetricsFile(tmp_path / "metrics.jsonl", lambda text: None)
    file.log({"a": 1.0}, 1)

    def cut(path: Path, text: str) -> None:
        append_text(path, text[:9])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("semiseg.tracking.local.append_text", cut)
        file.log({"a": 2.0}, 2)
    file.log({"a": 3.0}, 3)
    file.log({"a": 4.0}, 4)
    assert [record["step"] for record in file.read()] == [1, 3, 4]
    assert [record["step"] for record in MetricsReader(file.path).read()[0]] == [1, 3, 4]


def test_a_reader_goes_on_where_it_was_told_to_and_waits_for_a_line_to_be_complete(metrics):
    reader = MetricsReader(metrics.path)
    records, reader.offset = reader.read()
    assert [r["step"] for r in records] == [10, 20, 30]
    assert reader.read() == ([], metrics.path.stat().st_size)
    with metrics.path.open("a", encoding="utf-8") as file:
        file.write('{"step": 40, "loss/c')
    assert reader.read() == ([], reader.offset)
    with metrics.path.open("a", encoding="utf-8") as file:
        file.write('e": 0.4}\n{"step": 50}\n{"st')
    assert [r["step"] for r in reader.read()[0]] == [40, 50]
    assert [r["step"] for r in reader.read()[0]] == [40, 50]  # until the offset is moved
    assert MetricsReader(metrics.path.parent / "other.jsonl").read() == ([], 0)
