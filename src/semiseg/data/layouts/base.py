"""What every layout offers, and the checks they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from semiseg.data.classes import ClassMap
from semiseg.data.index import PatchIndex
from semiseg.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")

SHOWN = 8  # names in a message


class Layout(ABC):
    """One way that images and masks lie below a root folder."""

    def prepare(self, root: Path) -> None:
        """Called once before anything is read. Raises DataError when `root` is missing or no folder."""
        check_root(root)

    @abstractmethod
    def scan(self, root: Path) -> PatchIndex:
        """List every patch. Raises DataError for a root without patches and for masks without an image."""

    @abstractmethod
    def classes(self, root: Path, class_mapping: str | None) -> ClassMap:
        """The classes, from the CSV `class_mapping` where one is given. Raises DataError."""

    @abstractmethod
    def folders(self, root: Path) -> list[Path]:
        """Folders and lists whose modification time tells that `scan` would find something else."""

    def key(self, root: Path) -> str:
        """Type, settings and times of change: an index made under another key is outdated.

        Both times count: rsync and tar set back the one of modification, but nothing the one of change.
        """
        times = []
        for path in self.folders(root):
            status = path.stat()
            times.append(f"{path.relative_to(root).as_posix()}:{status.st_mtime_ns}:{status.st_ctime_ns}")
        return "|".join([f"{type(self).__qualname__} {sorted(vars(self).items())}", *times])

    def changed_at(self, root: Path) -> float:
        """When one of the folders changed last, in seconds since 1970."""
        return max(max(status.st_mtime, status.st_ctime) for status in (path.stat() for path in self.folders(root)))


def check_root(root: Path) -> None:
    """Raises DataError when `root` is missing or no folder."""
    if not root.exists():
        raise DataError(f"{root} does not exist. Give the folder of the data with data.root=PATH.")
    if not root.is_dir():
        raise DataError(f"{root} is a file. Give the folder that holds the data with data.root=PATH.")


def subfolders(root: Path) -> str:
    """Names of the folders in `root`, for messages."""
    names = sorted(path.name for path in root.iterdir() if path.is_dir())
    shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    return f"the folders {shown}" if names else "no folder"
