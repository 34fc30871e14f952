"""Names, values and addresses in the form MLflow takes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from semiseg.errors import ConfigError

SQLITE = "sqlite:///"
SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql", "databricks")
PARAM_LENGTH, NAME_LENGTH = 6000, 250  # MLflow's own limits
STATUS = {"finished": "FINISHED", "stopped early": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}  # of runs


def store_uri(uri: str | None, root: Path) -> str:
    """Tracking URI with the path of a SQLite file made absolute; null is `<root>/mlflow.db`."""
    if uri is None:
        return f"{SQLITE}{(root / 'mlflow.db').as_posix()}"
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme not in SCHEMES or (scheme != "databricks" and "://" not in uri):
        raise ConfigError(
            f"tracking.uri={hide_password(uri)} is not a store MLflow can use: give "
            "tracking.uri=sqlite:///FOLDER/mlflow.db or http://HOST:5000, or switch it off with tracking=none"
        )
    if uri.startswith(SQLITE):
        return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).expanduser().absolute().as_posix()}"
    return uri


def home_of(uri: str, elsewhere: Path) -> Path:
    """Where mlartifacts of a store goes: beside its SQLite file, and for another store `elsewhere`."""
    return Path(uri.removeprefix(SQLITE)).parent if uri.startswith(SQLITE) else elsewhere


def entity_name(name: str) -> str:
    """`name` with what MLflow refuses replaced by `_`. Colons too: they are refused on Windows alone."""
    cleaned = re.sub(r"[^\w.\- /]", "_", name).replace("..", "__")
    return "/".join(part for part in cleaned.split("/") if part)[:NAME_LENGTH]


def flatten(params: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names with text values, cut with a note where MLflow would cut them in silence.

    Passwords of addresses are left out: everybody who may look at the store would see them.
    """
    flat: dict[str, str] = {}
    for key, value in params.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[entity_name(name)] = cut(hide_password(str(value)))
    return flat


def cut(text: str) -> str:
    """`text` in at most PARAM_LENGTH characters."""
    note = f" ... (cut, {len(text)} characters)"
    return text if len(text) <= PARAM_LENGTH else text[: PARAM_LENGTH - len(note)] + note


@contextmanager
def without_passwords(path: Path) -> Iterator[Path]:
    """The file, or a copy of the same name where it is a config with passwords of addresses in it."""
    if path.suffix == ".yaml" and (shown := hide_password(text := path.read_text(encoding="utf-8"))) != text:
        with TemporaryDirectory() as folder:
            copy = Path(folder) / path.name
            copy.write_text(shown, encoding="utf-8")
            yield copy
    else:
        yield path


def hide_password(text: str) -> str:
    """URIs of `text` without their passwords, for messages."""
    return re.sub(r"(://[^:/@\s]*):[^@/\s]+@", r"\1:***@", text)
