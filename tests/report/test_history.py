import json
import math

import numpy as np
import pytest

from semiseg.report.history import read_history, series, spread, stability


def write(folder, *lines) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")


def test_each_quantity_has_the_steps_at_which_it_was_logged(tmp_path):
    write(
        tmp_path,
        {"step": 5, "time": 1.0, "loss/ce": 1.0},
        {"step": 10, "time": 2.0, "loss/ce": 0.5, "loss/st": 0.25},
        {"step": 10, "time": 3.0, "val/miou": 0.4},
        {"step": 15, "time": 4.0, "loss/st": 0.75, "loss/ce": None},
    )
    history = read_history(tmp_path)
    assert history.keys() == {"loss/ce", "loss/st", "val/miou"}
    assert history["loss/ce"].steps.tolist() == [5, 10, 15]
    assert history["loss/ce"].values[:2].tolist() == [1.0, 0.5] and math.isnan(history["loss/ce"].values[2])
    assert history["loss/st"].values.tolist() == [0.25, 0.75]
    assert history["val/miou"].steps.tolist() == [10]


def test_a_step_logged_again_after_a_resumption_counts_once_with_its_later_value(tmp_path):
    write(tmp_path, *({"step": step, "loss/ce": value} for step, value in [(5, 1.0), (10, 2.0), (5, 3.0), (7, 4.0)]))
    found = read_history(tmp_path)["loss/ce"]
    assert (found.steps.tolist(), found.values.tolist()) == ([5, 7, 10], [3.0, 4.0, 2.0])


def test_cut_lines_missing_files_and_values_that_are_no_numbers_do_no_harm(tmp_path):
    assert read_history(tmp_path) == {}
    lines = ['{"step": 1, "loss/ce": 2.0, "note": ["a"]}', "garbage", '{"step": 2, "loss/ce": 1.0, "note": ["b"]}']
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 3, "loss']), encoding="utf-8")
    history = read_history(tmp_path)
    assert history["loss/ce"].values.tolist() == [2.0, 1.0]


def test_the_spread_of_seeds_is_over_the_steps_they_share():
    a = series([10, 20, 30, 40], [1.0, 2.0, 3.0, math.nan])
    b = series([10, 30, 40, 50], [3.0, 5.0, math.nan, 9.0])
    curve = spread([a, b])
    assert curve.steps.tolist() == [10, 30]
    assert (curve.mean.tolist(), curve.low.tolist(), curve.high.tolist()) == ([2.0, 4.0], [1.0, 3.0], [3.0, 5.0])
    assert spread([a]).steps.tolist() == [10, 20, 30]
    assert len(spread([a, series([1], [0.0])]).mean) == 0


def test_stability_is_the_deviation_over_the_last_third():
    values = np.array([0.0, 0.1, 0.2, 0.3, 0.5, 0.5, 0.4, 0.6, 0.5])
    assert stability(values) == pytest.approx(np.std([0.4, 0.6, 0.5], ddof=1))
    assert stability(np.array([0.1, math.nan, 0.3])) == pytest.approx(np.std([0.1, 0.3], ddof=1))
    assert stability(np.array([0.1])) is None
