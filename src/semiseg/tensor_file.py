"""Reading files of tensors as what they are: data from anywhere, to be checked and never executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch


def read_tensors(path: Path) -> Any:
    """The content of a `torch.save` file on the CPU; nothing in it is executed.

    Raises BadZipFile where a byte changed, and whatever else a damaged pickle leads to: IndexError, UnpicklingError ...
    """
    _check_sums(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _check_sums(path: Path) -> None:
    """Compare the archive's checksums: `torch.load` reads none and would return wrong weights in silence.

    Costs about a second a gigabyte. Files of the format before PyTorch 1.6 have no checksums.
    """
    if is_zipfile(path):
        with ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise BadZipFile(f"the checksum of {damaged} is wrong")
