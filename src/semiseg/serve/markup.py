"""The parts of the page that are text: names come from files and data sets, so every one of them is escaped."""

from __future__ import annotations

from html import escape

from semiseg.data.classes import ClassMap
from semiseg.prediction.record import Entry
from semiseg.trained import System


def about(system: System) -> str:
    """What predicts here: the model, its score, and its classes in their colours."""
    score = system.summary.get("best_val_miou")
    facts = {"Model": escape(system.name), "Weights": escape(system.weights.name)}
    if isinstance(score, float):
        facts["Validation mIoU"] = f"{score:.3f}"
    rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items())
    rows += f"<dt>Classes</dt><dd class='legend'>{legend(system.classes)}</dd>"
    return f"<h1>Land cover of an image</h1><dl>{rows}</dl>"


def legend(classes: ClassMap) -> str:
    return "".join(
        f"<span class='name'>{swatch(color)}{escape(name)}</span>"
        for name, color in zip(classes.names, classes.colors, strict=True)
    )


def swatch(color: tuple[int, int, int]) -> str:
    red, green, blue = map(int, color)
    return f"<span class='swatch' style='background: rgb({red}, {green}, {blue})'></span>"


def shares(name: str, entry: Entry, classes: ClassMap) -> str:
    """The table of an image: a row a class, the largest first, shares of the pixels that have data."""
    seen, empty = max(1, sum(entry.pixels[:-1])), entry.pixels[-1]
    order = sorted(range(classes.num_classes), key=lambda number: -entry.pixels[number])
    rows = "".join(
        f"<tr><td>{swatch(classes.colors[number])}{escape(classes.names[number])}</td>"
        f"<td class='number'>{entry.pixels[number] / seen:.1%}</td><td class='number'>{amount(entry, number)}</td></tr>"
        for number in order
    )
    size = f"{entry.width:,} x {entry.height:,} pixels{f', {empty:,} of them without data' if empty else ''}"
    unit = "Pixels" if entry.hectares is None else "Hectares"
    return (
        f"<table><caption>{escape(name)}: {size}</caption><thead><tr><th>Class</th><th class='number'>Share</th>"
        f"<th class='number'>{unit}</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def amount(entry: Entry, number: int) -> str:
    """Hectares of a class where they are known, else pixels."""
    return f"{entry.pixels[number]:,}" if entry.hectares is None else f"{entry.hectares[number]:,.2f}"


def problem(text: str) -> str:
    return f"<p role='alert'>{escape(text)}</p>"
