"""Text files that name images, one a line, from any editor and any operating system."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from semiseg.errors import DataError

MAX_BYTES = 2**27  # a million lines of a hundred characters
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
COMMENT = re.compile(r"(^|\s)#.*")
LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Entry:
    """What one line says, without comment and blanks."""

    line: int  # from 1
    text: str

    @property
    def path(self) -> PureWindowsPath:
        """The entry as a path; this kind understands both slashes, on every system."""
        return PureWindowsPath(self.text)


def read_list(path: Path, remedy: str) -> list[Entry]:
    """The entries of a list in UTF-8, or UTF-16 with a byte order mark (as PowerShell and Excel write); `#` comments.

    Raises DataError for a file that is missing or no text; `remedy` says what to do about it.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes, too many for a list of names. {remedy}")
        text = _decoded(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist. {remedy}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}. Save it as UTF-8. {remedy}") from error
    entries = [Entry(number, COMMENT.sub("", line).strip()) for number, line in enumerate(LINE_END.split(text), 1)]
    for entry in entries:
        if not entry.text.isprintable():
            raise DataError(f"{path}, line {entry.line}: {entry.text[:60]!r} is no text. Save it as UTF-8. {remedy}")
    return [entry for entry in entries if entry.text]


def check_inside(path: Path, entry: Entry, remedy: str, *, rooted: bool = False) -> None:
    r"""Raises DataError for an entry that leads out of the data set: `..`, `/a`, `C:a`, `\\server\a`.

    With `rooted` a single leading slash is taken for the data set's own root, as the lists of SBD mean it.
    """
    outside = ".." in entry.path.parts or bool(entry.path.drive) or (bool(entry.path.root) and not rooted)
    if outside:
        raise DataError(
            f"{path}, line {entry.line}: {entry.text!r} leads out of the data set. Name the image alone, or its path "
            f"below data.root. {remedy}"
        )


def _decoded(data: bytes) -> str:
    return data.decode("utf-16" if data.startswith(UTF_16) else "utf-8-sig")
