from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from semiseg.errors import ConfigError
from semiseg.report.collect import Run
from semiseg.report.store import experiment_of, log_report, store_root, store_uri_of, tracker_of
from semiseg.tracking.mlflow import MLflowTracker
from semiseg.tracking.null import NullTracker


def tracking(**values) -> DictConfig:
    node = {"_target_": "semiseg.tracking.mlflow.MLflowTracker", "uri": None, "root": None, "experiment_name": None}
    return OmegaConf.create(node | values)


NONE = OmegaConf.create({"_target_": "semiseg.tracking.null.NullTracker"})


def test_the_store_is_the_one_at_or_above_the_runs(tmp_path):
    below = tmp_path / "runs" / "multirun" / "sweep"
    below.mkdir(parents=True)
    assert store_root(tracking(), below) is None
    (tmp_path / "runs" / "mlflow.db").touch()
    assert store_root(tracking(), below) == tmp_path / "runs"
    assert store_root(tracking(root="other"), below) == Path("other")
    assert store_uri_of(tracking(), below) == f"sqlite:///{(tmp_path / 'runs' / 'mlflow.db').as_posix()}"
    assert store_uri_of(tracking(uri="http://host:5000"), tmp_path) == "http://host:5000"


@pytest.mark.parametrize("node", [tracking(), NONE])
def test_reading_without_a_store_says_what_to_give(tmp_path, node):
    with pytest.raises(ConfigError, match=r"mlflow= needs a store.*tracking\.uri=URI"):
        store_uri_of(node, tmp_path)


def test_no_store_is_made_for_a_report_alone(tmp_path):
    assert tracker_of(tracking(), tmp_path, "exp") is None
    assert isinstance(tracker_of(NONE, tmp_path, "exp"), NullTracker)
    assert isinstance(tracker_of(tracking(root=str(tmp_path)), tmp_path, "exp"), MLflowTracker)
    assert isinstance(tracker_of(tracking(uri="http://host:5000"), tmp_path, "exp"), MLflowTracker)


def test_the_report_goes_beside_the_experiment_of_most_runs():
    names = ["a", "b", "b", None]
    assert experiment_of([Run(Path("x"), {"experiment": name}) for name in names]) == "b-reports"
    assert experiment_of([]) == "semiseg-reports"


def test_the_report_is_one_run_with_its_files_however_often_it_is_written(tmp_path):
    from mlflow import MlflowClient

    out = tmp_path / "report"
    (out / "figures" / "data-1").mkdir(parents=True)
    for name in ("report.html", "report.md", "results.csv", "figures/data-1/gap.svg"):
        (out / name).write_text("text", encoding="utf-8")
    for _ in range(2):
        tracker = tracker_of(tracking(root=str(tmp_path)), tmp_path, "exp")
        assert tracker is not None
        told = log_report(tracker, out, {"kind": "report"})
        assert told[0].startswith('Logged to MLflow as the run "report"') and "mlflow ui" in told[1]
    client = MlflowClient(f"sqlite:///{(tmp_path / 'mlflow.db').as_posix()}")
    experiment = client.get_experiment_by_name("exp")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status, run.data.tags["kind"]) == ("report", "FINISHED", "report")
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {
        "report.html", "report.md", "results.csv", "figures",
    }  # fmt: skip
    assert [item.path for item in client.list_artifacts(run.info.run_id, "figures/data-1")] == [
        "figures/data-1/gap.svg"
    ]


def test_a_report_that_cannot_be_logged_is_told_in_one_line(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"no database at all, but a file of the same name")
    (told,) = log_report(MLflowTracker("exp", root=tmp_path), tmp_path / "report", {})
    assert told.startswith("MLflow: tracking stopped") and "metrics are in" not in told
    assert log_report(NullTracker(), tmp_path, {}) == []
