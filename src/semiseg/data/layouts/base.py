"""What every layout offers, and the checks they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from semiseg.data.classes import ClassMap
from semiseg.data.index import PatchIndex
from semiseg.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


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
        """Type, settings and modification times: an index made under another key is outdated."""
        times = [f"{path.relative_to(root).as_posix()}:{path.stat().st_mtime_ns}" for path in self.folders(root)]
        return "|".join([f"{type(self).__qualname__} {sorted(vars(self).items())}", *times])


def check_root(root: Path) -> None:
    """Raises DataError when `root` is missing or no folder."""
    if not root.exists():
        raise DataError(f"{root} does not exist. Give the folder of the data with data.root=PATH.")
    if not root.is_dir():
        raise DataError(f"{root} is a file. Give the folder that holds the data with data.root=PATH.")


def subfolders(root: Path, limit: int = 8) -> str:
    """Names of the folders in `root`, for messages."""
    names = sorted(path.name for path in root.iterdir() if path.is_dir())
    shown = ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
    return f"the folders {shown}" if names else "no folder"
