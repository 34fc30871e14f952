"""What is predicted already: the settings of an output folder, and a line for every finished image."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semiseg.data.classes import ClassMap
from semiseg.data.index import short_hash
from semiseg.errors import ConfigError
from semiseg.files import append_text, write_json

SETTINGS, FINISHED = "predict.json", "finished.jsonl"
PIXELS = "pixels"  # the method of areas that are not measured in hectares


@dataclass(frozen=True)
class Entry:
    """A finished image. `pixels` are those of each class and, last, without data; `hectares` those of each class."""

    image: str
    height: int
    width: int
    pixels: list[int]
    hectares: list[float] | None = None  # None: the image has no place on Earth
    method: str = PIXELS  # of the areas
    problems: list[str] = field(default_factory=list)
    made_of: str = ""  # the `stamp` of the image, as it was predicted


class Record:
    """The images of an output folder that are finished, in a file that outlives a kill.

    Raises ConfigError for a folder that holds the predictions of another model or of other tiles.
    """

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        self.settings, self.file = out / SETTINGS, out / FINISHED
        self._lock = threading.Lock()
        self._check_settings(out, settings)
        self._end_last_line()
        self.finished = {entry.image: entry.made_of for entry in self.entries()}

    def _check_settings(self, out: Path, settings: dict[str, Any]) -> None:
        try:
            stored = json.loads(self.settings.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            stored = {}
        for key, value in settings.items():
            if key != "run" and stored.get(key, value) != value:
                raise ConfigError(
                    f"out={out} holds predictions {_difference(key, stored, settings)}. "
                    "Give another folder, or remove that one."
                )
        write_json(self.settings, settings | stored)

    def _end_last_line(self) -> None:
        """One that a full disk or a kill cut off must not take the next one along."""
        if self.file.is_file() and self.file.stat().st_size:
            with self.file.open("rb+") as lines:
                lines.seek(-1, os.SEEK_END)
                if lines.read(1) != b"\n":
                    lines.write(b"\n")

    def add(self, entry: Entry) -> None:
        """Once every output of the image is under its final name. May be called from threads."""
        with self._lock:
            append_text(self.file, json.dumps(vars(entry), ensure_ascii=False) + "\n")
            self.finished[entry.image] = entry.made_of

    def entries(self) -> Iterator[Entry]:
        """The finished images; of one that was predicted again, every entry. A line cut by a kill is passed over."""
        return (entry for _, entry in self._lines())

    def newest(self) -> Iterator[Entry]:
        """The last entry of every image, by name. Only the places of their lines are held: there may be very many."""
        places = {entry.image: place for place, entry in self._lines()}
        if not places:
            return
        with self.file.open("rb") as lines:
            for image in sorted(places):
                lines.seek(places[image])
                yield Entry(**json.loads(lines.readline()))

    def _lines(self) -> Iterator[tuple[int, Entry]]:
        """Every entry with the place of its line."""
        if not self.file.is_file():
            return
        with self.file.open("rb") as lines:
            place = 0
            for line in lines:
                try:
                    entry = Entry(**json.loads(line))
                except (ValueError, TypeError):
                    entry = None
                if entry is not None:
                    yield place, entry
                place += len(line)


def stamp(image: Path) -> str:
    """16 hex digits over the place, the size and the time of an image file: another image has others."""
    status = image.stat()
    return short_hash(f"{image.resolve()} {status.st_size} {status.st_mtime_ns}")


def fingerprint(weights: Path) -> str:
    """16 hex digits over the content of a weights file."""
    digest = hashlib.blake2b(digest_size=8)
    with weights.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def describe(weights: Path, classes: ClassMap, tile: int, overlap: int, stretch: list[float] | None) -> dict[str, Any]:
    """The settings that decide what the predictions of a folder are."""
    return {
        "weights": fingerprint(weights),
        "classes": list(classes.names),
        "colors": [list(color) for color in classes.colors],
        "tile": tile,
        "overlap": overlap,
        "stretch": stretch,
    }


def _difference(key: str, stored: dict[str, Any], settings: dict[str, Any]) -> str:
    """What an output folder was made with, and what is asked for. Runs are named: digests of weights say nothing."""
    if key != "weights":
        return f"with {key}={_short(stored[key])}, asked for is {_short(settings[key])}"
    before, now = stored.get("run"), settings["run"]
    if before == now:
        return f"of run={now} with weights that were replaced since"
    return f"of run={before}, asked for is run={now}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
