"""The model registry that `run=models:/...` reads and `semiseg register` writes: its address and its versions."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semiseg.config import near
from semiseg.errors import ConfigError, SemisegError
from semiseg.tracking.connection import quiet_mlflow
from semiseg.tracking.naming import SQLITE, hide_password, store_uri
from semiseg.tracking.reasons import reason

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

SCHEME = "models:/"
NAME = r"[^/:@'\"`]+"  # what MLflow takes, without the quotes of its filters
REFERENCE = re.compile(rf"models:/+(?P<name>{NAME})(?:/(?P<version>\d+|latest)|@(?P<alias>[\w-]+))")
NO_SUCH = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
ROOT = Path("runs")  # where trainings keep their store unless told otherwise


@dataclass(frozen=True)
class Reference:
    """`models:/NAME/VERSION`, `models:/NAME/latest` or `models:/NAME@ALIAS`."""

    name: str
    version: str | None
    alias: str | None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Raises ConfigError for any other form."""
        match = REFERENCE.fullmatch(text)
        if match is None:
            raise ConfigError(f"run={text}: write models:/NAME/3, models:/NAME/latest or models:/NAME@ALIAS.")
        return cls(match["name"], match["version"], match["alias"])


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, else the store of trainings in the working directory."""
    return store_uri(os.environ.get("MLFLOW_TRACKING_URI") or None, ROOT.absolute())


def client_of(uri: str) -> MlflowClient:
    """Client of the store and of the registry, which is the same one unless MLFLOW_REGISTRY_URI names another.

    Raises ConfigError where a SQLite file is not there: MLflow would make it.
    """
    registry = store_uri(os.environ.get("MLFLOW_REGISTRY_URI") or uri, ROOT.absolute())
    if registry.startswith(SQLITE) and not Path(registry.removeprefix(SQLITE)).is_file():
        raise ConfigError(
            f"there is no model registry {registry.removeprefix(SQLITE)}. Name the store that the model was registered "
            "in with the environment variable MLFLOW_TRACKING_URI, such as sqlite:///FOLDER/mlflow.db or "
            "http://HOST:5000."
        )
    quiet_mlflow()
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=registry)


def find_version(client: MlflowClient, text: str) -> ModelVersion:
    """The version that a reference names. Raises ConfigError with the names or versions that there are."""
    wanted = Reference.parse(text)
    aliases = _aliases(client, text, wanted.name)
    versions = {int(each.version): each for each in client.search_model_versions(f"name = '{wanted.name}'")}
    if wanted.alias is not None:
        number = aliases.get(wanted.alias)
    else:
        number = max(versions, default=None) if wanted.version == "latest" else wanted.version
    found = None if number is None else versions.get(int(number))
    if found is None:
        listed = ", ".join(map(str, sorted(versions))) or "none"
        named = "; ".join(f"@{alias} is {each}" for alias, each in sorted(aliases.items()))
        raise ConfigError(
            f"run={text}: {wanted.name} has no such version. Versions: {listed}{f' ({named})' if named else ''}."
        )
    return found


def _aliases(client: MlflowClient, text: str, name: str) -> dict[str, str]:
    """Alias -> version of a registered model. Raises ConfigError with the names that there are."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code not in NO_SUCH:
            raise
    names = [each.name for each in client.search_registered_models()]
    known = near(name, names) if names else "It holds no model yet: add one with semiseg register."
    raise ConfigError(f"run={text}: the registry {shown(client)} has no model {name}. {known}")


def shown(client: MlflowClient) -> str:
    """The address of its registry as messages name it."""
    return hide_password(str(client._registry_uri)).removeprefix(SQLITE)


def unreachable(uri: str, error: Exception) -> SemisegError:
    """What is said of a store that does not answer, or refuses."""
    return SemisegError(
        f"the model registry {hide_password(uri).removeprefix(SQLITE)}: {reason(error)}. Start it, or name another "
        "with the environment variable MLFLOW_TRACKING_URI."
    )
