"""Names from anywhere, made fit for a terminal, a log and a page."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""`text` with whatever a terminal would obey written out: line ends, escape sequences (`\x1b`), text direction.

    The names of files are bytes that their maker chose; those that are no UTF-8 are written out as well (`\udcff`).
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
