"""The doctor's findings as a table."""

from semiseg.doctor import Finding
from semiseg.report.collect import read_run
from semiseg.report.judged import Judged, findings_table


def test_a_sign_has_the_numbers_of_every_seed_that_showed_it(make_run, tmp_path):
    runs = [Judged("v3", read_run(make_run(tmp_path / str(seed), seed=seed))) for seed in range(6)]
    for each in runs:
        finding = Finding("gap-wide", "bad", f"gap 0.{each.run.seed}", f"seed={each.run.seed}", 10 - int(each.run.seed))
        each.__dict__["findings"] = [finding]  # what the cached property would hold
    (row,) = findings_table(runs, "bad").rows
    assert row[:3] == ["v3", "gap-wide", "0, 1, 2, 3, 4, 5"]
    assert row[3] == "seed 0: gap 0.0; seed 1: gap 0.1; seed 2: gap 0.2; seed 3: gap 0.3; and 2 more"
    assert row[4:] == ["5", "seed=0; seed=1; seed=2; seed=3"]
    assert findings_table(runs, "good").rows == []


def test_seeds_with_the_same_evidence_are_told_together(make_run, tmp_path):
    runs = [Judged("v3", read_run(make_run(tmp_path / str(seed), seed=seed))) for seed in range(3)]
    for each, text in zip(runs, ("road at 0", "water at 0", "road at 0"), strict=True):
        each.__dict__["findings"] = [Finding("class-at-zero", "bad", text, "", 5)]
    (row,) = findings_table(runs, "bad").rows
    assert row[2:4] == ["0, 1, 2", "seeds 0, 2: road at 0; seed 1: water at 0"]
