"""The packages that only exported files need."""

from __future__ import annotations

import importlib

from semiseg.errors import ConfigError

WRITING = ("onnx", "onnxscript", "onnxruntime")


def require(*names: str) -> None:
    """Raises ConfigError with the command that installs them where one of the packages is missing."""
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            raise ConfigError(f'ONNX files need the package {name}: pip install -e ".[export]"') from None
