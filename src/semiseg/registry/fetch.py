"""A version of the model registry as a run folder on this machine."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from semiseg.errors import CheckpointError, SemisegError
from semiseg.files import move_over, write_bytes
from semiseg.prediction.record import fingerprint
from semiseg.registry.store import ROOT, client_of, find_version, shown, tracking_uri, unreachable
from semiseg.tracking.naming import hide_password
from semiseg.tracking.reasons import reason

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CACHE = ROOT / "cache" / "registered"  # `semiseg compare` and `sync` pass over folders called cache
PROBE = 2**20  # bytes
RUN = "run"  # the artifact with the files of the run folder
WEIGHTS_TAG = "semiseg.weights"  # of a version: the fingerprint of its weights


def fetch(text: str) -> Path:
    """The folder of `models:/NAME/VERSION`, downloaded the first time.

    It is a copy even of a store on this machine: what a verb writes beside a run must not get into the registry.
    Raises ConfigError for a name or version that is not there, SemisegError for a registry that does not answer, and
    CheckpointError for a version that is damaged or holds no run.
    """
    uri = tracking_uri()
    try:
        client = client_of(uri)
        version = find_version(client, text)
        location = client.get_model_version_download_uri(version.name, version.version)
        folder = CACHE / _digest(client, version, location) / f"{version.name}-{version.version}"
        if not folder.is_dir():
            _download(text, version, location, folder, uri)
    except SemisegError:
        raise
    except Exception as error:  # of MLflow, its HTTP client, its database and the stores of artifacts
        raise unreachable(uri, error) from error
    return folder


def _digest(client: MlflowClient, version: ModelVersion, location: str) -> str:
    """The number of a version that was deleted can be given again: its place and time tell them apart."""
    key = f"{shown(client)} {location} {version.creation_timestamp}"
    return hashlib.blake2b(key.encode(), digest_size=6).hexdigest()


def _download(text: str, version: ModelVersion, location: str, folder: Path, uri: str) -> None:
    """Whole and checked, or not at all; two processes may do it at once."""
    from mlflow.artifacts import download_artifacts

    part = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        try:
            got = Path(download_artifacts(f"{location}/artifacts/{RUN}", dst_path=str(part), tracking_uri=uri))
        except Exception as error:  # of MLflow and each kind of store; a folder that is not there has several
            _check_place(folder.parent)
            raise CheckpointError(
                f"run={text} cannot be used: its files below {hide_password(location)} cannot be had: {reason(error)}. "
                "Start the store that has them; where they are gone, register the run again with semiseg register."
            ) from error
        _check(text, version, got)
        try:
            move_over(got, folder)
        except OSError:
            if not folder.is_dir():  # by another process
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_place(folder: Path) -> None:
    """Raises SemisegError where it is this machine that cannot take the files."""
    try:
        write_bytes(folder / "probe", bytes(PROBE))
        (folder / "probe").unlink()
    except OSError as error:
        raise SemisegError(
            f"{folder}, where registered models are kept, cannot be written ({error.strerror}). Free some space there "
            "or mend its permissions, and repeat the command."
        ) from None


def _check(text: str, version: ModelVersion, folder: Path) -> None:
    weights = sorted((folder / "checkpoints").glob("best*.pth"))
    if not weights or not (folder / ".hydra" / "config.yaml").is_file():
        raise _unusable(text, "it holds no run")
    if version.tags.get(WEIGHTS_TAG) not in [fingerprint(file) for file in weights]:
        raise _unusable(text, "its weights are not those that were registered")


def _unusable(text: str, why: str) -> CheckpointError:
    return CheckpointError(f"run={text} cannot be used: {why}. Register the run again with semiseg register.")
