from pathlib import Path

from semiseg.report.collect import Run
from semiseg.report.efficiency import efficiency_notes, efficiency_table
from semiseg.report.group import Cohort, Group


def group(model: str, *latencies: float, **facts) -> Group:
    summaries = [{"model": model, "seed": seed, "latency_ms": ms, **facts} for seed, ms in enumerate(latencies)]
    return Group(tuple(Run(Path(model), summary) for summary in summaries), model)


ORIGINAL = group("lightweight_original", 5.0, parameters=6_830_000, weights_mib=26.06, best_val_miou=0.5, hardware="A")
SMALL = group("lightweight", 3.0, 3.5, parameters=2_520_000, weights_mib=9.6, best_val_miou=0.49, hardware="A")


def test_costs_stand_with_their_ratio_to_the_baseline():
    cells = efficiency_table(Cohort("", "", (ORIGINAL, SMALL), ORIGINAL))
    assert cells.title == "Efficiency, and its ratio to lightweight_original"
    assert cells.header == ["recipe", "peak val mIoU", "parameters", "weights, MiB", "latency, ms"]
    assert cells.rows[0] == ["lightweight_original", "0.5000", "6,830,000", "26.06", "5.00"]
    small = cells.rows[1]
    assert small[1] == "0.4900 (×0.98)" and small[2:4] == ["2,520,000 (×0.37)", "9.60 (×0.37)"]
    assert small[4] == "3.25 ± 0.35 (×0.65)"


def test_runs_of_older_versions_have_the_costs_they_know():
    older = Group((Run(Path("v1"), {"model": "v1", "parameters": 5, "best_val_miou": 0.4}),), "v1")
    cells = efficiency_table(Cohort("", "", (SMALL, older), older))
    assert [row[-1] for row in cells.rows] == ["3.25 ± 0.35", ""]
    assert efficiency_notes([older]) == []
    assert efficiency_table(Cohort("", "", (older,), older)).title == "Efficiency"


def test_the_hardware_of_the_latencies_is_named():
    assert efficiency_notes([SMALL, ORIGINAL])[0].endswith("in a batch of one, on A.")
    (note,) = efficiency_notes([SMALL, group("v1", 9.0, hardware="B")])
    assert "cannot be compared: A; B." in note
