"""An inspection as tables: coloured in a terminal, plain in a pipe or a file."""

from __future__ import annotations

from itertools import islice

from rich.console import Console as Terminal
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from semiseg.inspection.figures import Inspection
from semiseg.inspection.scan import KINDS, Problem
from semiseg.printable import printable, say

MAX_NAMED = 10  # problems of a kind, the rest is counted
MAX_SIZES = 5


def print_report(terminal: Terminal, inspection: Inspection) -> None:
    """Every figure, then warnings, then problems."""
    index = inspection.bundle.index
    say(terminal, f"Data: {index.root}", style="bold")
    say(terminal, f"Fingerprint: {inspection.bundle.fingerprint()}")
    for table in (pool_table(inspection), class_table(inspection), image_table(inspection)):
        terminal.print()
        terminal.print(table)
    terminal.print()
    for warning in inspection.warnings:
        say(terminal, f"Warning: {warning}", style="yellow")
    print_problems(terminal, inspection.scan.problems)


def pool_table(inspection: Inspection) -> Table:
    """Patches and sources of each pool."""
    table = _table("Patches", "", "patches", "sources")
    for name, (patches, sources) in inspection.pools.items():
        table.add_row(name, f"{patches:,}", f"{sources:,}")
    table.add_row("on both sides of the split", "", f"{len(inspection.shared_sources):,}")
    return table


def class_table(inspection: Inspection) -> Table:
    """Frequencies of the classes; shares are of the pixels that are not ignored."""
    classes, train, val = inspection.bundle.classes, inspection.train, inspection.val
    headings = ("class", "id", "", "pixels", "share", "patches", "weight", "val share")
    table = _table("Classes in the labelled training masks, and their balanced weights", *headings)
    for number, (name, color) in enumerate(zip(classes.names, classes.colors, strict=True)):
        table.add_row(
            escape(printable(name)),
            str(number),
            Text("  ", f"on rgb({color[0]},{color[1]},{color[2]})"),
            f"{train.pixels[number]:,}",
            f"{train.share[number]:.2%}",
            f"{train.patches[number]:,}",
            f"{inspection.weights[number]:.3f}",
            f"{val.share[number]:.2%}",
        )
    ignored = [f"{train.pixels[-1]:,}", f"{train.share[-1]:.2%}", f"{train.patches[-1]:,}"]
    table.add_row("ignored", "255", "", *ignored, "", f"{val.share[-1]:.2%}", style="dim")
    return table


def image_table(inspection: Inspection) -> Table:
    """How many were looked at, and the sizes found."""
    looked, pools = inspection.looked_at, inspection.pools
    table = Table(title="Images", title_justify="left", box=None, pad_edge=False, show_header=False)
    for name in ("labelled", "unlabelled"):
        left_out = looked[name] < pools[name][0]
        hint = " (sample=null for all)" if left_out else ""
        table.add_row(f"{name}, looked at", f"{looked[name]:,} of {pools[name][0]:,}{hint}")
    for width, height, count in islice(inspection.sizes, MAX_SIZES):
        table.add_row(f"of {width}x{height} pixels", f"{count:,}")
    if len(inspection.sizes) > MAX_SIZES:
        table.add_row("of other sizes", f"{sum(count for *_, count in inspection.sizes[MAX_SIZES:]):,}")
    table.add_row(f"smaller than the crop of {inspection.crop_size}", f"{inspection.smaller_than_crop:,}")
    return table


def print_problems(terminal: Terminal, problems: list[Problem]) -> None:
    """The first files of each kind with what is wrong, and how many there are."""
    for kind in KINDS:
        found = [problem for problem in problems if problem.kind == kind]
        if found:
            say(terminal, f"Problem: {kind} ({len(found):,})", style="bold red")
        for problem in found[:MAX_NAMED]:
            say(terminal, f"  {problem.file}: {problem.detail}")
        if len(found) > MAX_NAMED:
            say(terminal, f"  ... and {len(found) - MAX_NAMED:,} more, all in inspect.json")


def _table(title: str, first: str, *headings: str) -> Table:
    """The first column to the left, numbers to the right."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first, overflow="fold", min_width=14)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
