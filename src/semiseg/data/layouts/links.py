"""Symbolic links inside a data set may lead anywhere within it, and nowhere else."""

from __future__ import annotations

from pathlib import Path

from semiseg.errors import DataError


def check_stays_inside(root: Path, path: Path) -> None:
    """Raises DataError where `path`, followed through every link, lies outside of `root`, itself followed."""
    target = path.resolve()
    if not target.is_relative_to(root.resolve()):
        raise DataError(
            f"{path} leads to {target}, outside of data.root={root}. Copy it there, or give a folder that holds both "
            "with data.root=PATH."
        )
