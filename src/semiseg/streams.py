"""Streams that outlive their readers and take every character."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO, cast


class Lasting:
    """A stream whose reader may go away, a closed terminal or `| head`: what is said after that is lost, no work is."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._or_nowhere():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._or_nowhere():
            self._stream.flush()

    @contextlib.contextmanager
    def _or_nowhere(self) -> Iterator[None]:
        """What is still in the buffer, and what Python flushes at its end, must have somewhere to go."""
        try:
            yield
        except OSError:
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


def tolerant(stream: TextIO) -> TextIO:
    """`stream`, told to write `?` for what its encoding lacks, and to outlive its reader: neither a class name on
    Windows nor a closed terminal must end a training."""
    if isinstance(stream, Lasting):
        return stream
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    return cast(TextIO, Lasting(stream))


def check_mark(encoding: str | None) -> str:
    """A check mark, or `*` where the encoding (cp1252 of a Windows console, ASCII of a bare locale) has none."""
    try:
        "✓".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "*"
    return "✓"
