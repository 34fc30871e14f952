"""Files of tensors as what they are: sealed when we write them, checked when we read them, never executed."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch

START, END, END_SIZE = b"PK\x03\x04", b"PK\x05\x06", 22  # a zip archive's first bytes; its last record, no comment
NO_RUN = "0" * 32
SEAL = re.compile(rb"semiseg run=([0-9a-f]{32})(?: step=(\d{1,19}))? sha256=([0-9a-f]{64})")
SEAL_SIZE = len(b"semiseg run= sha256=") + 32 + 64  # without a step
STEP_SIZE = len(b" step=") + 19  # at most
DIGEST_SIZE = 64


class Sealed:
    """A file that `torch.save` writes to, hashed on its way and closed with a seal.

    The seal is the zip archive's comment: the run that the file belongs to, for the best weights their step, and the
    SHA-256 of all before the sum itself. PyTorch reads such a file as any other, and its own checksums leave out
    headers and padding.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest, self._last = file, hashlib.sha256(), b""

    def write(self, data: bytes) -> int:
        """As a file's. PyTorch writes an archive from its start to its end."""
        self._digest.update(data)
        self._last = (self._last + bytes(data[-2:]))[-2:]
        return self._file.write(data)

    def flush(self) -> None:
        """As a file's."""
        self._file.flush()

    def seal(self, run: str, step: int | None) -> None:
        """Close the archive with its comment, whose length the last two bytes written held as zero."""
        assert self._last == b"\0\0", "an archive without a comment ends in the comment's length, zero"
        text = f"semiseg run={run}{'' if step is None else f' step={step}'} sha256=".encode()
        self._digest.update(text)
        self._file.seek(-2, os.SEEK_END)
        self._file.write(struct.pack("<H", len(text) + DIGEST_SIZE) + text + self._digest.hexdigest().encode())


def write_tensors(payload: Any, file: BinaryIO, run: str = NO_RUN, step: int | None = None) -> None:
    """`torch.save` with a seal; `run` is the 32 hexadecimal digits of the run that it belongs to, `step` its step."""
    sealed = Sealed(file)
    torch.save(payload, sealed)  # pyright: ignore[reportArgumentType]  # it needs write and flush alone
    sealed.seal(run, step)


def read_tensors(path: Path) -> Any:
    """The content of a `torch.save` file on the CPU; nothing in it is executed.

    Raises BadZipFile where a byte changed, and whatever else a damaged pickle leads to: IndexError, UnpicklingError ...
    """
    _check_sums(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def run_of(path: Path) -> str | None:
    """The run that a whole file belongs to; None where it says of none."""
    found = SEAL.fullmatch(_ending(path)[1])
    run = found.group(1).decode() if found else NO_RUN
    return None if run == NO_RUN else run


def step_of(path: Path) -> int | None:
    """The step that a whole file's weights are of; None where it does not say, as files of older versions."""
    found = SEAL.fullmatch(_ending(path)[1])
    return int(found.group(2)) if found and found.group(2) else None


def same_content(path: Path, other: Path) -> bool:
    """Whether two whole files of one run and step hold the same, by their seals alone."""
    seal = _ending(path)[1]
    return bool(seal) and seal == _ending(other)[1]


def _check_sums(path: Path) -> None:
    """Raises BadZipFile for a file that changed since it was written.

    Costs 1.5 seconds a gigabyte. A file of another program has no seal: the archive's own checksums are compared, which
    `torch.load` does not. Files of the format before PyTorch 1.6 have neither.
    """
    with path.open("rb") as file:
        archive = file.read(len(START)) == START
    if not archive and not is_zipfile(path):
        return
    record, comment = _ending(path)
    plain = record.startswith(END) and record.endswith(b"\0\0") and not comment
    if not plain:  # PyTorch writes no comment: one that is no whole seal is damage
        _check_seal(path, record, comment)
    with ZipFile(path) as contents:
        if sum(entry.file_size for entry in contents.infolist()) > path.stat().st_size:
            raise BadZipFile("it is compressed, which no file of tensors is")  # and may unpack to any size
        damaged = contents.testzip() if plain else None
    if damaged is not None:
        raise BadZipFile(f"the checksum of {damaged} is wrong")


def _check_seal(path: Path, record: bytes, comment: bytes) -> None:
    found = SEAL.fullmatch(comment)
    if found is None or record[-2:] != struct.pack("<H", len(comment)):
        raise BadZipFile("its end is damaged or cut off")
    digest = hashlib.sha256()
    for part in _parts(path, path.stat().st_size - len(comment) - 2):
        digest.update(part)
    digest.update(b"\0\0" + comment[:-DIGEST_SIZE])
    if digest.hexdigest().encode() != found.group(3):
        raise BadZipFile("its checksum is wrong")


def _ending(path: Path) -> tuple[bytes, bytes]:
    """The last record of the archive and its comment, the seal; both empty where there is no such record."""
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, END_SIZE + SEAL_SIZE + STEP_SIZE), os.SEEK_END)
        tail = file.read()
    start = tail.rfind(END)
    return (b"", b"") if start < 0 else (tail[start : start + END_SIZE], tail[start + END_SIZE :])


def _parts(path: Path, size: int) -> Iterator[bytes]:
    """The first `size` bytes, a mebibyte at a time."""
    with path.open("rb") as file:
        while size > 0 and (part := file.read(min(size, 2**20))):
            size -= len(part)
            yield part
