"""Why a store could not be reached or refused something, in a few words instead of the text of four libraries."""

from __future__ import annotations

import re
from collections.abc import Iterator

from semiseg.tracking.naming import hide_password

LENGTH = 160
WORDS = (  # the first that fits; MLflow passes the text of the cause on, but not the cause
    (r"timeout exception|Read timed out|ConnectTimeout", "no answer in time"),
    (r"Connection refused|WinError 10061", "nothing answers there"),
    (r"NameResolutionError|getaddrinfo|Name or service not known", "no such host"),
    (r"No route to host|Network is unreachable", "the network does not reach it"),
    (r"Connection aborted|RemoteDisconnected|Connection reset", "the connection broke off"),
    (r"database or disk is full|No space left", "no space left there"),
    (r"database is locked", "the database is locked by others"),
    (r"file is not a database", "the file is no database"),
    (r"readonly database|Permission denied", "no permission to write there"),
)


def reason(error: BaseException) -> str:
    """One short line, without passwords."""
    text = " ".join(str(each) for each in causes(error))
    for pattern, words in WORDS:
        if re.search(pattern, text):
            return words
    if code := re.search(r"(?:error code |too many )(\d{3})\b", text):
        return f"it answers with error {code[1]}"
    first = hide_password((str(error).splitlines() or [""])[0])
    return f"{type(error).__name__}: {first}"[:LENGTH]


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
