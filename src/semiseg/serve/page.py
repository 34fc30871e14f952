"""The page: a place to drop a file, the overlay beside the image, shares and downloads."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from semiseg.errors import SemisegError
from semiseg.prediction.options import PredictConfig
from semiseg.serve import markup
from semiseg.serve.answer import answer
from semiseg.trained import System

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
import gradio as gr
from gradio.themes import Base

KEPT, LOOKED_AT = 3600, 600  # seconds that files of a request are kept, and between looks
NARROW = 320  # pixels below which parts of a row stand one below the other
STYLE = Path(__file__).with_name("page.css")
FONTS = ("system-ui", "sans-serif")  # of the reader's machine: none is fetched


def build_page(system: System, cfg: PredictConfig, folder: Path) -> gr.Blocks:
    """The page of a system. Uploads and results lie in `folder`, an hour at most."""

    def predict(upload: str | None) -> Iterator[tuple[Any, ...]]:
        """Gradio copies what is yielded into its own folder, and then lets this one go on, which removes its own."""
        if upload is None:
            yield showing()
            return
        with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as own:
            try:
                found = answer(system, Path(upload), Path(own), replace(cfg, out=str(Path(own) / "out")))
            except SemisegError as error:
                yield showing(problem=str(error))
                return
            table = markup.shares(Path(upload).name, found.entry, system.classes)
            said = "; ".join([*found.entry.problems, *found.remarks])
            yield showing(said, table, found.picture, found.overlay, found.downloads)

    with gr.Blocks(title="semiseg", analytics_enabled=False, delete_cache=(LOOKED_AT, KEPT)) as page:
        gr.HTML(markup.about(system), elem_id="about", apply_default_css=False)
        drop = gr.File(label="Image or GeoTIFF", height=150, elem_id="drop")
        problem = gr.HTML(visible=False, elem_id="problem", apply_default_css=False)
        with gr.Row(visible=False) as pictures:
            picture = gr.Image(label="Image", **look("picture"))
            overlay = gr.Image(label="Classes", **look("overlay"))
        with gr.Row(visible=False) as results:
            shares = gr.HTML(min_width=NARROW, elem_id="shares", apply_default_css=False)
            downloads = gr.File(
                label="Downloads", file_count="multiple", interactive=False, min_width=NARROW, elem_id="downloads"
            )
        outputs = [problem, pictures, picture, overlay, results, shares, downloads]
        drop.change(predict, drop, outputs, show_progress="minimal", show_progress_on=[drop], api_visibility="private")
    return page


def look(name: str) -> dict[str, Any]:
    """Of a picture that is only shown."""
    return {"elem_id": name, "type": "filepath", "interactive": False, "buttons": ["fullscreen"], "format": "png"}


def showing(
    problem: str = "", table: str = "", picture: Path | None = None, overlay: Path | None = None,
    downloads: list[Path] | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    """The values of all outputs; pictures and results are hidden as long as there are none."""
    rows = gr.update(visible=picture is not None)
    files = [str(path) for path in downloads or ()] or None
    images = [None if path is None else str(path) for path in (picture, overlay)]
    said = gr.update(value=markup.problem(problem), visible=bool(problem))
    return said, rows, *images, rows, table, files


def theme() -> Base:
    return Base(primary_hue="slate", neutral_hue="slate", font=FONTS, font_mono=("ui-monospace", "monospace"))
