"""The verb `history`: the course of one run as a figure and a table, as the lightweight guide's script drew it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from omegaconf import DictConfig, OmegaConf

from semiseg.config import check_missing, settings, ungrouped
from semiseg.errors import ConfigError
from semiseg.report.curves import LOSSES
from semiseg.report.drawing import INK, MUTED, PALETTE, STYLE, WIDE, Picture, save, set_title
from semiseg.report.history import History, Series, read_history
from semiseg.report.recorded import read_summary
from semiseg.report.table import Cells
from semiseg.report.terminal import fitted, make_terminal
from semiseg.trained import REGISTERED, path_of

WITH_MARKERS = 40  # points up to which each is marked


@dataclass
class HistoryConfig:
    """Settings of the verb."""

    run: str
    out: str | None = None


def main(config: DictConfig) -> None:
    """Print the table and write history.png, of a registered run into the working directory: its folder is a cache.

    Raises ConfigError where `run` is no run folder, or one that logged nothing yet.
    """
    check_missing(config)
    cfg = settings(HistoryConfig, ungrouped(config), "")
    folder = path_of(cfg.run)
    history = history_of(folder)
    terminal = make_terminal()
    for part in fitted(course(history, folder.resolve().name), terminal.width):
        terminal.print(part)
    out = Path() if cfg.run.startswith(REGISTERED) else folder
    out = out if cfg.out is None else Path(cfg.out).expanduser()
    with rc_context(STYLE):
        picture = draw(history, folder.resolve().name, steps_per_epoch(folder))
    png, _ = save(picture, out)
    terminal.print(f"Written: {png}", soft_wrap=True, markup=False, highlight=False)


def history_of(folder: Path) -> History:
    """What a run logged. Raises ConfigError where there is nothing."""
    if not folder.is_dir():
        raise ConfigError(f"run={folder} is no folder. Give the folder of a run, such as runs/semiseg/NAME.")
    history = read_history(folder)
    if not history:
        raise ConfigError(
            f"run={folder} has logged nothing: its metrics.jsonl is missing or empty. Give the folder of a run."
        )
    return history


def steps_per_epoch(folder: Path) -> int | None:
    """Steps in which a run sees its labelled training patches once; None where it does not say."""
    summary, _ = read_summary(folder)
    pools = summary.get("pools")
    try:
        trainer = OmegaConf.load(folder / ".hydra" / "config.yaml").trainer
        batch = trainer.batch_size * trainer.accumulate
        return max(1, pools["train"] // batch) if isinstance(pools, dict) else None
    except (OSError, AttributeError, KeyError, TypeError, ValueError):  # not ended yet, or of another version
        return None


def best_step(history: History) -> int | None:
    """The step of the highest validation mIoU, the earliest of several; None before the first evaluation."""
    scores = history.get("val/miou")
    if scores is None or not np.isfinite(scores.values).any():
        return None
    return int(scores.steps[np.nanargmax(scores.values)])


def course(history: History, name: str) -> Cells:
    """A row a quantity of the figure: its last value, and its value at the best evaluation."""
    best, last = best_step(history), max(int(series.steps[-1]) for series in history.values())
    rows = [
        [title_of(key), shown(history[key], last), "" if best is None else shown(history[key], best)]
        for key in [*scores_of(history), *losses_of(history), *rates_of(history)]
    ]
    marked = "best (no evaluation yet)" if best is None else f"best (iteration {best:,})"
    return Cells(name, ["quantity", f"last (iteration {last:,})", marked], rows)


def shown(series: Series, step: int) -> str:
    """The value at a step, or the last one logged before it."""
    place = int(np.searchsorted(series.steps, step, side="right")) - 1
    return "" if place < 0 or math.isnan(series.values[place]) else f"{series.values[place]:.4g}"


def scores_of(history: History) -> list[str]:
    return [key for key in ("val/miou", "train/miou", "gap") if key in history]


def losses_of(history: History) -> list[str]:
    return sorted((key for key in history if key.startswith("loss/")), key=lambda key: (key != "loss/total", key))


def rates_of(history: History) -> list[str]:
    return sorted(key for key in history if key.startswith("lr/"))


def title_of(key: str) -> str:
    """A quantity in words."""
    known = {"val/miou": "validation mIoU", "train/miou": "training mIoU", "gap": "train/val gap"}
    group, _, name = key.partition("/")
    words = {"loss": f"loss: {LOSSES.get(name, name)}", "lr": f"learning rate: {name}"}
    return known.get(key) or words.get(group, key)


def draw(history: History, name: str, epoch: int | None) -> Picture:
    """Losses, mIoU and learning rate over the iterations, one below the other, the best evaluation marked in all."""
    panels = [(losses_of(history), "loss"), (scores_of(history)[:2], "mIoU"), (rates_of(history), "learning rate")]
    panels = [(keys, unit) for keys, unit in panels if keys]
    figure = Figure(figsize=(WIDE * 0.75, 0.6 + 2.6 * len(panels)), layout="constrained")
    set_title(figure, f"History of {name}")
    best = best_step(history)
    for place, (axes, (keys, unit)) in enumerate(
        zip(figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0], panels, strict=True)
    ):
        draw_lines(axes, history, keys)
        axes.set_ylabel(unit)
        if best is not None:
            axes.axvline(best, color=INK, linewidth=0.9, linestyle=":")
        if unit == "mIoU" and best is not None:
            mark_best(axes, history["val/miou"], best)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        if place == 0 and epoch is not None:
            top = axes.secondary_xaxis("top", functions=(lambda step: step / epoch, lambda each: each * epoch))
            top.set_xlabel("epoch")
            axes.spines["top"].set_visible(True)
        if place == len(panels) - 1:
            axes.set_xlabel("iteration")
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    caption = "The dotted line is the evaluation with the highest validation mIoU, whose weights are those of record."
    return Picture("history", f"History of {name}", caption, figure)


def draw_lines(axes: Axes, history: History, keys: Sequence[str]) -> None:
    """One line a quantity; the total loss in grey, since it is the sum of the others."""
    colors = iter(PALETTE * len(keys))
    for key in keys:
        series, color = history[key], MUTED if key == "loss/total" else next(colors)
        marker = "o" if len(series.steps) <= WITH_MARKERS else ""
        axes.plot(series.steps, series.values, color=color, marker=marker, markersize=3, label=title_of(key))
    axes.margins(x=0.02)


def mark_best(axes: Axes, series: Series, step: int) -> None:
    """A star and the value at the best evaluation."""
    value = float(series.values[np.searchsorted(series.steps, step)])
    axes.plot(step, value, "*", color=INK, markersize=11, label=f"best: {value:.4f}", linestyle="none")
