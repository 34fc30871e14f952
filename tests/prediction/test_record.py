from __future__ import annotations

from pathlib import Path

from semiseg.prediction.record import Entry, Record


def test_a_line_that_a_full_disk_cut_takes_no_other_along(tmp_path: Path):
    entry = Entry("a", 2, 2, [4, 0])
    Record(tmp_path, {}).add(entry)
    file = tmp_path / "finished.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    record = Record(tmp_path, {})
    record.add(Entry("b", 2, 2, [4, 0]))
    assert [each.image for each in Record(tmp_path, {}).entries()] == ["b"]
