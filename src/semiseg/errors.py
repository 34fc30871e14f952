"""The errors a user can cause or mend. The command line prints their text alone, without a traceback."""


class SemisegError(Exception):
    """Base of every expected failure: the text says what was got, where, and what to do."""


class ConfigError(SemisegError):
    """A setting that is unknown, of the wrong type or contradicts another."""


class DataError(SemisegError):
    """Images, masks, lists or class mappings that cannot be used as they are."""


class CheckpointError(SemisegError):
    """A checkpoint or weights file that cannot be read, written or does not fit the model."""
