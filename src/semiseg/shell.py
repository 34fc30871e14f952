"""Commands as they are typed, in a form that cmd.exe, PowerShell and the shells of Unix read alike."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterable
from pathlib import Path

SAFE = re.compile(r"[\w+=:,./@-]+", re.ASCII)
QUOTED = re.compile(r"""([^"']*)"([^"']*)\"""")  # a whole value in Hydra's double quotes
PROJECT = Path(__file__).resolve().parents[2]  # with train.py and compare.py, unless the package was copied elsewhere
SPECIAL = set('"$`\\!%')  # between double quotes, in one shell or another


def as_typed(override: str) -> str:
    """One word of a command, in double quotes where a shell would split or expand it: single ones are none to cmd.exe.

    Hydra reads either quotes within it. What is special even between double quotes is quoted for this system alone.
    """
    if SAFE.fullmatch(override):
        return override
    inner = QUOTED.sub(r"\1'\2'", override)
    if not SPECIAL & set(inner):
        return f'"{inner}"'
    return subprocess.list2cmdline([override]) if os.name == "nt" else shlex.quote(override)


def program(verb: str) -> str:
    """What a command of `train` or `compare` begins with here: their files lie in the project's own folder alone."""
    script = f"{verb}.py"
    return f"python {script}" if (PROJECT / script).is_file() and Path.cwd() == PROJECT else f"semiseg {verb}"


def command(words: Iterable[str]) -> str:
    """All of them, with spaces between."""
    return " ".join(map(as_typed, words))
