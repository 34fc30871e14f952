"""Names from anywhere, made fit for a terminal, a log and a page."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text


def printable(text: str) -> str:
    r"""`text` with whatever a terminal would obey written out: line ends, escape sequences (`\x1b`), text direction.

    The names of files are bytes that their maker chose; those that are no UTF-8 are written out as well (`\udcff`).
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def say(terminal: Console, line: str, style: str = "") -> None:
    """One line, never wrapped: its paths and commands are there to be copied. Names in it cannot steer the terminal."""
    terminal.print(Text(printable(line), style=style), soft_wrap=True)
