"""What a registered version is made of: the few files of a run that predict, and what a server must know of them."""

from __future__ import annotations

import base64
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import requires, version
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd
from packaging.requirements import Requirement

import semiseg
from semiseg.registry.fetch import RUN
from semiseg.tracking.naming import without_passwords
from semiseg.trained import Trained

if TYPE_CHECKING:
    from mlflow.models import Model

FILES = (".hydra/config.yaml", "summary.json", "metrics.jsonl")
EXAMPLE_SIDE = 64  # pixels


@contextmanager
def packaged(trained: Trained, model: Model) -> Iterator[Path]:
    """The folder of an MLflow model, removed afterwards. Nothing in it is pickled but the weights' tensors."""
    from mlflow import pyfunc

    from semiseg.registry.service import SIGNATURE

    with tempfile.TemporaryDirectory() as folder:
        run, made = Path(folder) / RUN, Path(folder) / "model"
        copy_run(trained, run)
        pyfunc.save_model(
            str(made),
            mlflow_model=model,
            python_model=str(Path(__file__).with_name("entry.py")),
            code_paths=[str(Path(semiseg.__file__).parent)],
            artifacts={RUN: str(run)},
            signature=SIGNATURE,
            input_example=pd.DataFrame({"image": [example()]}),
            pip_requirements=requirements(),
        )
        for cache in [*made.rglob("__pycache__")]:
            shutil.rmtree(cache, ignore_errors=True)
        yield made


def copy_run(trained: Trained, folder: Path) -> None:
    """The weights that predict, and the files that say of what network and classes."""
    for name in (*FILES, trained.weights.relative_to(trained.folder).as_posix()):
        source, target = trained.folder / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            with without_passwords(source) as file:
                shutil.copyfile(file, target)


def example() -> str:
    """A PNG in base64 whose colours run from edge to edge."""
    ramp = np.linspace(0, 255, EXAMPLE_SIDE).astype(np.uint8)
    image = np.stack([*np.meshgrid(ramp, ramp), np.full((EXAMPLE_SIDE, EXAMPLE_SIDE), 128, np.uint8)], axis=-1)
    return base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode("ascii")


def requirements() -> list[str]:
    """The packages that this one needs, in the versions that are installed; its own code is in the artifact."""
    names = [need.name for need in map(Requirement, requires("semiseg") or ()) if need.marker is None]
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]
