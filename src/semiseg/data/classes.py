"""The classes of a data set: a name and a colour each, in the order of their ids."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from semiseg.errors import DataError

HEADER = ["class_name", "class_color"]
MAX_CLASSES = 254  # ids are bytes, and one of them means ignored
MAX_NAME = 100  # characters
MAX_BYTES = 2**20  # of the file: 254 classes take a hundredth of it
NUMBER = re.compile("[0-9]{1,9}")
FORMULA = ("=", "+", "-", "@")  # with which a cell begins that a spreadsheet would run


@dataclass(frozen=True)
class ClassMap:
    """Names and RGB colours; the position is the class id."""

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]

    @property
    def num_classes(self) -> int:
        return len(self.names)


def read_class_mapping(path: Path, setting: str = "data.class_mapping") -> ClassMap:
    """The classes of a CSV with the columns `class_name,class_color`, colours as "R G B", ids in the order of the rows.
    `setting` is what messages name as the way to give another file.

    Raises DataError naming file and line for a missing file, another header, a name that is empty, repeated, longer
    than 100 characters, not printable or the beginning of a formula, a colour that is not three numbers of 0 to 255 or
    is taken already, and for fewer than 2 or more than 254 classes.
    """
    rows = _rows(path, setting)
    if not rows or [cell.strip() for cell in rows[0][1]] != HEADER:
        got = shortened(",".join(rows[0][1])) if rows else "an empty file"
        raise DataError(f"{path}, line 1: got {got!r}; the first line must be class_name,class_color.")
    lines: dict[object, int] = {}
    names, colors = [], []
    for line, cells in rows[1:]:
        name, color = _parse_row(path, line, cells)
        for value, kind in ((name, "class name"), (color, "colour")):
            if value in lines:
                raise DataError(f"{path}, line {line}: the {kind} {value} is that of line {lines[value]} already.")
            lines[value] = line
        names.append(name)
        colors.append(color)
    if not 2 <= len(names) <= MAX_CLASSES:
        raise DataError(f"{path}: got {len(names)} classes; there must be 2 to {MAX_CLASSES}, one a line.")
    return ClassMap(tuple(names), tuple(colors))


def _rows(path: Path, setting: str) -> list[tuple[int, list[str]]]:
    """The lines that are not blank, each with its number. `utf-8-sig` drops the mark that Excel puts first."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(
                f"{path} has {path.stat().st_size:,} bytes, too many for a class mapping of up to {MAX_CLASSES} lines. "
                f"Give the right file with {setting}=PATH."
            )
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except FileNotFoundError as error:
        raise DataError(
            f"{path} does not exist; it must list the classes as class_name,class_color. "
            f"Put it there or give another file with {setting}=PATH."
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read as a class mapping: {error}. Save it as UTF-8 CSV, or give another file with "
            f"{setting}=PATH."
        ) from error


def _parse_row(path: Path, line: int, cells: list[str]) -> tuple[str, tuple[int, int, int]]:
    if len(cells) != 2:
        raise DataError(
            f"{path}, line {line}: got {len(cells)} columns in {shortened(','.join(cells))!r}; write NAME,R G B."
        )
    name, color = cells[0].strip(), cells[1].split()
    if not name:
        raise DataError(f"{path}, line {line}: the class has no name; write NAME,R G B.")
    if len(name) > MAX_NAME or not name.isprintable() or name.startswith(FORMULA):
        raise DataError(
            f"{path}, line {line}: {shortened(name)!r} is no class name. Take at most {MAX_NAME} letters, digits and "
            f"signs, none of {' '.join(FORMULA)} at the beginning: a spreadsheet would run it as a formula."
        )
    if len(color) != 3 or not all(
        part.isascii() and part.isdigit() and len(part) < 10 and int(part) <= 255 for part in color
    ):
        raise DataError(
            f"{path}, line {line}: the colour {shortened(cells[1])!r} of {name} is not three numbers from 0 to 255."
        )
    red, green, blue = map(int, color)
    return name, (red, green, blue)


def shortened(text: str, limit: int = 60) -> str:
    """The beginning of a text, for messages: a cell may hold megabytes."""
    return text if len(text) <= limit else f"{text[:limit]}..."
