"""The verb `register`: the best weights of a run as a version in the MLflow model registry."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from omegaconf import DictConfig
from rich.console import Console as Terminal
from rich.text import Text

from semiseg.config import check_missing, settings, ungrouped
from semiseg.errors import ConfigError, SemisegError
from semiseg.prediction.record import fingerprint
from semiseg.registry.fetch import WEIGHTS_TAG
from semiseg.registry.store import NAME, SCHEME, client_of, unreachable
from semiseg.streams import tolerant
from semiseg.tracking.connection import connect, get_run
from semiseg.tracking.naming import SQLITE, hide_password, home_of, store_uri
from semiseg.tracking.state import TrackingState
from semiseg.trained import Trained, is_best, load_trained

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

LINK_TAG = "mlflow.modelVersions"  # by which MLflow's page of the run's models leads to the version
ALIAS = r"[A-Za-z_-][\w-]*"  # no number, which would be a version
RESERVED = re.compile(r"v\d+|latest", re.IGNORECASE)  # by MLflow


@dataclass
class RegisterConfig:
    """What stands in conf/register.yaml outside every group."""

    run: str
    name: str
    alias: str | None = None
    output: str = "runs"

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME, self.name) or self.name != self.name.strip():
            raise ConfigError(f"name={self.name}: give a name without any of / : @ and quotes, such as name=landcover.")
        if self.alias is not None and (not re.fullmatch(ALIAS, self.alias) or RESERVED.fullmatch(self.alias)):
            raise ConfigError(
                f"alias={self.alias}: give a word of letters, digits, - and _, such as alias=champion. Not latest, v1, "
                "v2 ..., which are MLflow's own."
            )


@dataclass
class StoreConfig:
    """The store to register in; null is MLFLOW_TRACKING_URI, else the run's own, else that of `output`."""

    uri: str | None = None


def main(config: DictConfig) -> None:
    """Register a run and print how the version is used.

    Raises ConfigError and CheckpointError for a run that cannot be used, and SemisegError for a store that does not
    answer: nothing is registered then.
    """
    check_missing(config)
    cfg = settings(RegisterConfig, ungrouped(config), "")
    given = settings(StoreConfig, config.tracking, "tracking").uri
    trained = load_trained(cfg.run, torch.device("cpu"))
    if not is_best(trained.folder, trained.weights):
        raise ConfigError(
            f"run={cfg.run} is not the best weights of its run, which alone a version can hold: its summary and scores "
            f"are theirs. Give the folder of the run: run={trained.folder}"
        )
    state = TrackingState.read(trained.folder)
    output = Path(cfg.output).expanduser().absolute()
    uri = store_uri(given or os.environ.get("MLFLOW_TRACKING_URI") or own_store(state), output)
    try:
        version = register(trained, state, cfg, uri, output)
    except SemisegError:
        raise
    except Exception as error:  # of MLflow, its HTTP client, its database and the stores of artifacts
        raise unreachable(uri, error) from error
    show(version, trained, uri)


def own_store(state: TrackingState | None) -> str | None:
    """Where the run was tracked; None where it was not, or its file has not come along to this machine."""
    if state is None or (state.uri.startswith(SQLITE) and not Path(state.uri.removeprefix(SQLITE)).is_file()):
        return None
    return state.uri


def register(
    trained: Trained, state: TrackingState | None, cfg: RegisterConfig, uri: str, output: Path
) -> ModelVersion:
    """The new version, its files logged into the run's own MLflow run where the store has it, else into a new one."""
    own = state is not None and state.uri == uri
    experiment = str(trained.config.get("experiment_name") or "semiseg")
    root = Path(state.root) if state is not None and own else home_of(uri, output)
    _, experiment_id = connect(uri, state.experiment if state is not None and own else experiment, root)
    client = client_of(uri)
    run = run_of(client, trained, state, uri) or new_run(client, experiment_id, trained)
    logged = log_model(client, run, trained, cfg.name)
    return add_version(client, logged, run, trained, cfg)


def run_of(client: MlflowClient, trained: Trained, state: TrackingState | None, uri: str) -> Run | None:
    """The MLflow run of a run folder, if that store has it."""
    stored = None if state is None else state.stores.get(hide_password(uri))
    return None if stored is None or stored.run_id is None else get_run(client, stored.run_id)


def new_run(client: MlflowClient, experiment_id: str, trained: Trained) -> Run:
    """A finished run that holds nothing but the model."""
    run = client.create_run(experiment_id, run_name=trained.folder.name, tags={"model": str(trained.config.model.name)})
    client.set_terminated(run.info.run_id, "FINISHED")
    return run


def log_model(client: MlflowClient, run: Run, trained: Trained, name: str) -> LoggedModel:
    """The files, as a model of the run.

    By the client's own calls: `mlflow.pyfunc.log_model` would open the run again and change its status and its end.
    """
    from mlflow.models import Model

    from semiseg.registry.package import packaged

    own_name = re.sub("[.%]", "-", name)  # which MLflow takes in the registry alone
    logged = client.create_logged_model(run.info.experiment_id, own_name, run.info.run_id, model_type="segmentation")
    try:
        model = Model(
            artifact_path=logged.artifact_location,
            run_id=run.info.run_id,
            model_uuid=logged.model_id,
            model_id=logged.model_id,
        )
        with packaged(trained, model) as folder:
            client.log_model_artifacts(logged.model_id, str(folder))
        client.finalize_logged_model(logged.model_id, "READY")
    except BaseException:
        with contextlib.suppress(Exception):
            client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    return logged


def add_version(
    client: MlflowClient, logged: LoggedModel, run: Run, trained: Trained, cfg: RegisterConfig
) -> ModelVersion:
    """The next version under a name, which is made where it is new."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(cfg.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(
        cfg.name,
        logged.artifact_location,  # "models:/ID" is looked up in the store of the process, which may be another
        run.info.run_id,
        tags={WEIGHTS_TAG: fingerprint(trained.weights), **tags_of(trained)},
        model_id=logged.model_id,
    )
    link = json.dumps([{"name": version.name, "version": version.version}])
    client.set_logged_model_tags(logged.model_id, {LINK_TAG: link})
    if cfg.alias is not None:
        client.set_registered_model_alias(cfg.name, cfg.alias, version.version)
    return version


def tags_of(trained: Trained) -> dict[str, str]:
    """What tells versions apart in MLflow's page."""
    facts = {
        "model": trained.config.model.name,
        "run": trained.folder.name,
        "best_val_miou": trained.summary.get("best_val_miou"),
        "git_commit": trained.summary.get("git_commit"),
    }
    return {key: str(value) for key, value in facts.items() if value is not None}


def show(version: ModelVersion, trained: Trained, uri: str) -> None:
    """Name, version, and what to type next, where no variable names the store and from any folder."""
    reference = f"{SCHEME}{version.name}/{version.version}"
    quoted = f'"{reference}"' if " " in reference else reference
    lines = [
        f"Registered {trained.name} as {version.name}, version {version.version}: run={reference}",
        f"Once first:  {set_variable('MLFLOW_TRACKING_URI', hide_password(uri), os.name == 'nt')}",
        f"Evaluate:    semiseg evaluate run={quoted}",
        f"Serve:       mlflow models serve -m {quoted} --env-manager local --port 5001",
    ]
    terminal = Terminal(file=tolerant(sys.stdout), highlight=False)
    for line in lines:
        terminal.print(Text(line), soft_wrap=True)


def set_variable(name: str, value: str, windows: bool) -> str:
    """The line that sets an environment variable, whatever spaces the value holds."""
    if windows:
        return f'set "{name}={value}"    (PowerShell: $env:{name} = "{value}")'
    return f"export {name}={shlex.quote(value)}"
