"""Classes and confidence of an image: held in memory, or in a file beside the output while a large one is predicted."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import SemisegError
from semiseg.files import write_json

UInt8 = NDArray[np.uint8]

CLASSES, CONFIDENCE = 0, 1
STRIP_ROWS = 512  # a multiple of the blocks of a GeoTIFF: none is compressed twice


class Planes(ABC):
    """Two planes [H, W] of bytes: class ids, and confidence in whole percent; 255 in both where there is no data."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width

    @abstractmethod
    def read(self, plane: int, top: int, bottom: int) -> UInt8:
        """Rows `top` to `bottom` of a plane, [rows, W]."""

    @abstractmethod
    def write(self, top: int, strip: UInt8) -> None:
        """Rows from `top` on, [2, rows, W]."""

    def strips(self, plane: int, rows: int = STRIP_ROWS) -> Iterator[tuple[int, UInt8]]:
        """A plane from top to bottom, each strip with the number of its first row."""
        for top in range(0, self.height, rows):
            yield top, self.read(plane, top, min(top + rows, self.height))

    def thumbnail(self, plane: int, height: int, width: int) -> UInt8:
        """A plane at another size by its nearest pixels, [height, width]."""
        if (height, width) == (self.height, self.width):
            return self.read(plane, 0, height)
        rows = ((np.arange(height) + 0.5) * self.height / height).astype(int)
        columns = ((np.arange(width) + 0.5) * self.width / width).astype(int)
        return np.stack([self.read(plane, row, row + 1)[0, columns] for row in rows.tolist()])


class Held(Planes):
    """In memory."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__(height, width)
        self.planes: UInt8 = np.empty((2, height, width), dtype=np.uint8)

    def read(self, plane: int, top: int, bottom: int) -> UInt8:
        return self.planes[plane, top:bottom]

    def write(self, top: int, strip: UInt8) -> None:
        self.planes[:, top : top + strip.shape[1]] = strip


class Part(Planes):
    """In a file of bytes, with a small file beside it that says how many rows are finished.

    `key` describes the image and the settings: a part of another key is begun anew. Rows that are finished already are
    not written again. The file is read in pieces and not mapped, so that it takes no memory.
    """

    def __init__(self, path: Path, height: int, width: int, key: str) -> None:
        super().__init__(height, width)
        self.path, self.state, self.key = path, path.with_name(f"{path.name}.json"), key
        self.rows = self._finished_rows()

    def _finished_rows(self) -> int:
        try:
            state = json.loads(self.state.read_text(encoding="utf-8"))
            if state["key"] == self.key and self.path.is_file():
                return int(state["rows"])
        except (OSError, ValueError, KeyError, TypeError):  # none yet, or a damaged one
            pass
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.state.unlink(missing_ok=True)  # first: it speaks of what is emptied now
        self.path.write_bytes(b"")
        return 0

    def read(self, plane: int, top: int, bottom: int) -> UInt8:
        rows = np.empty((bottom - top, self.width), dtype=np.uint8)
        with self.path.open("rb") as file:
            file.seek((plane * self.height + top) * self.width)
            if file.readinto(rows.data) != rows.nbytes:
                raise SemisegError(f"{self.path} lost some of what was predicted. Remove it, and call again.")
        return rows

    def write(self, top: int, strip: UInt8) -> None:
        if top < self.rows:
            return
        with self.path.open("r+b") as file:
            for plane, rows in enumerate(strip):
                file.seek((plane * self.height + top) * self.width)
                file.write(np.ascontiguousarray(rows).data)
        self.rows = top + strip.shape[1]
        write_json(self.state, {"key": self.key, "rows": self.rows})

    def remove(self) -> None:
        """Once its outputs are written. What Windows refuses, because a scanner has it open, stays."""
        for path in (self.path, self.state):
            with suppress(OSError):
                path.unlink(missing_ok=True)
