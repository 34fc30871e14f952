"""The columns that matter in MLflow's table of runs, which shows no metric by itself.

MLflow's "share view" button stores a view as a tag of the experiment and names it in the address of its page; this
writes the same tag (MLflow 3.17, `mlflow.sharedViewState.<key>`, plain JSON).
"""

from __future__ import annotations

import json

KEY = "semiseg"
TAG = f"mlflow.sharedViewState.{KEY}"
ORDER = "metrics.`best/val_miou`"
COLUMNS = (
    "attributes.`Duration`", ORDER, "metrics.`val/miou`", "metrics.`gap`", "metrics.`st/coverage`",
    "metrics.`st/precision`", "metrics.`images_per_s`", "tags.`sweep`", "tags.`model`", "tags.`seed`",
)  # fmt: skip
VIEW = {TAG: json.dumps({"orderByKey": ORDER, "orderByAsc": False, "selectedColumns": COLUMNS})}  # a tag


def page(experiment_id: str) -> str:
    """What follows the address of the UI to see an experiment that has the tag, the best run first."""
    return f"/#/experiments/{experiment_id}/runs?viewStateShareKey={KEY}"
