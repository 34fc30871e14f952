"""The errors a user can cause or mend. The command line prints their text alone, without a traceback."""

from semiseg.printable import printable


class SemisegError(Exception):
    """Base of every expected failure: the text says what was got, where, and what to do.

    It may hold names of files and classes, so nothing in it but its own line ends is left for a terminal to obey.
    """

    def __str__(self) -> str:
        return "\n".join(printable(line) for line in super().__str__().split("\n"))


class ConfigError(SemisegError):
    """A setting that is unknown, of the wrong type or contradicts another."""


class DataError(SemisegError):
    """Images, masks, lists or class mappings that cannot be used as they are."""


class CheckpointError(SemisegError):
    """A checkpoint or weights file that cannot be read, written or does not fit the model."""
