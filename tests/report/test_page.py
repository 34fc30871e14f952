"""The page as text: what it holds, what it must never hold. How it behaves is tested in tests/browser."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure

from semiseg.report.drawing import GRID, INK, MUTED, PAPER, STYLE, Picture, canvas, save
from semiseg.report.page import SVG_LIMIT, Chapter, TableView, inline_svg, plate, render
from semiseg.report.table import Cells

EVIL = "<script>alert(1)</script>"
SCORES = Cells("Scores", ["recipe", "mIoU", "verdict"], [["v1", "0.51 ± 0.02", "baseline"], ["v3", "0.60", "better"]])


class Page(HTMLParser):
    """Every tag with its attributes, the text inside <script>, and all other text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts.append(data)
        elif self.cdata_elem is None:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def drawn(tmp_path: Path) -> Picture:
    with rc_context(STYLE):
        figure, axes = canvas("A curve")
        axes.plot([0, 1], [0, 1])
        axes.set_xlabel(f"iteration {EVIL}")
    return Picture("curve", "A curve", "What it shows.", figure)


@pytest.fixture
def page(drawn: Picture, tmp_path: Path) -> Page:
    _, svg = save(drawn, tmp_path)
    picture = (drawn.title, drawn.caption, svg)
    hostile = Cells(EVIL, ["recipe", EVIL], [[EVIL, '" onclick="alert(2)'], ["v1", "' & \" <b>"]])
    chapters = [
        Chapter("Scores", "How they were measured.", [SCORES], [picture, picture], ["A note."]),
        Chapter(EVIL, EVIL, [hostile], [(EVIL, EVIL, svg)], [EVIL], cohort='x" onload="alert(3)'),
    ]
    return Page(render(f"Report {EVIL}", chapters, {"Runs": "2", EVIL: EVIL}))


def test_everything_given_is_on_the_page(page):
    for text in ("Report", "Runs", "How they were measured.", "0.51 ± 0.02", "What it shows.", "A note.", "iteration"):
        assert text in page.text


def test_folded_tables_are_details_and_others_are_not():
    folded = Cells("All settings", ["setting", "v1"], [["optim.lr", "0.1"]], folded=True)
    page = Page(render("t", [Chapter("c", tables=[SCORES, folded])], {}))
    assert len(page.all("details")) == 1 == len(page.all("summary")) and len(page.all("table")) == 2


def test_names_are_text_and_never_markup(page):
    assert page.text.count("alert(1)") > 8  # title, facts, chapter, intro, table, cells, caption, note
    assert len(page.all("script")) == 1 and "alert" not in "".join(page.scripts)
    handlers = [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert handlers == [] and page.all("b") == []
    rows = [attributes["data-name"] for attributes in page.all("tr") if "data-name" in attributes]
    assert rows == ["v1", "v3", EVIL, "v1"]


def test_nothing_is_fetched_from_anywhere(page):
    links = [
        str(attributes[name])
        for _, attributes in page.tags
        for name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster")
        if name in attributes
    ]
    assert links and all(link.startswith(("#", "data:")) for link in links)
    assert {tag for tag, _ in page.tags}.isdisjoint({"iframe", "object", "embed", "base", "form", "audio", "video"})
    styles = [str(attributes.get("style")) for _, attributes in page.tags]
    assert not any("url(" in style and "url(#" not in style for style in styles)


def test_the_style_sheet_and_the_script_load_nothing():
    folder = Path(render.__code__.co_filename).parent
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    assert "url(" not in style and "@import" not in style
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|innerHTML|outerHTML|insertAdjacentHTML|eval\(", script)


def test_the_policy_allows_this_script_alone(page):
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in str(policy).split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    assert rules["script-src"] == f"'sha256-{digest}'"


def test_the_contents_lead_to_chapters_and_figures(page):
    ids = {attributes.get("id") for _, attributes in page.tags}
    targets = [str(a["href"])[1:] for a in page.all("a")]
    assert targets == ["chapter-1", "figure-1-1", "figure-1-2", "chapter-2", "figure-2-1"] and set(targets) <= ids


def test_no_id_occurs_twice(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_rows_of_recipes_can_be_ticked_and_others_not():
    settings = Cells("Settings", ["setting", "v1", "v3"], [["optim.lr", "1", "2"], ["seed", "0", "1"]])
    single = Cells("One", ["recipe", "mIoU"], [["v1", "0.5"]])
    page = Page(render("Report", [Chapter("a", tables=[SCORES, settings, single])], {}))
    labels = [a["aria-label"] for a in page.all("input") if "aria-label" in a]
    assert labels == ["hold v1 beside another row", "hold v3 beside another row"]
    assert len([a for a in page.all("button") if a.get("class") == "sort"]) == 3 + 3 + 2


def test_a_row_is_named_by_as_many_cells_as_tell_it_apart():
    view = TableView(Cells("Criteria", ["recipe", "seed", "level"], [["v3", "0", "good"], ["v3", "1", "good"]]))
    assert [view.name(row) for row in view.cells.rows] == ["v3, 0", "v3, 1"]
    assert TableView(SCORES).name(SCORES.rows[0]) == "v1"
    alike = TableView(Cells("Notes", ["recipe", "note"], [["v3", "a"], ["v3", "a"]]))
    assert alike.name(alike.cells.rows[0]) == "v3, a"


@pytest.mark.parametrize("cell, number", [
    ("0.51 ± 0.02", True), ("1,234", True), ("-3", True), ("+0.0124", True), ("68.9% ± 1.3%", True), ("12%", True),
    ("2,516,853 (×0.37)", True), ("21.0 ± 0.3 (×6.77)", True),
    ("[+0.01, +0.02]", True), ("v3", False), ("0:16:40", False), ("2 runs", False), ("0123abc", False),
])  # fmt: skip
def test_columns_of_numbers_stand_to_the_right(cell, number):
    view = TableView(Cells("t", ["recipe", "x"], [["a", cell], ["b", ""]]))
    assert ("number" in view.css[1]) == number and "number" not in view.css[0]


def test_verdicts_have_a_tone_and_a_word(page):
    cells = [a["class"] for a in page.all("td") if str(a.get("class", "")).strip() in ("good", "bad", "open")]
    assert [str(each).strip() for each in cells] == ["good"]  # "better"


def test_a_figure_takes_the_colours_of_the_page_and_has_a_name(drawn, tmp_path):
    _, path = save(drawn, tmp_path)
    svg = path.read_text(encoding="utf-8")
    assert INK in svg and PAPER in svg
    html = inline_svg(svg, 'A "curve"', "f7-")
    assert not any(color in html for color in (INK, MUTED, GRID, PAPER)) and "var(--ink)" in html
    assert html.startswith('<svg role="img" aria-label="A &#34;curve&#34;"')
    assert "<metadata" not in html and "<!DOCTYPE" not in html and "http:" not in html
    referred = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', html))
    assert referred and all(
        f'id="{one or other}"' in html and (one or other).startswith("f7-") for one, other in referred
    )


def noise(side: int) -> Figure:
    figure = Figure(figsize=(12, 3))
    axes = figure.add_subplot()
    axes.scatter(*np.random.default_rng(0).random((2, side)), s=1)
    return figure


def test_a_large_svg_gives_way_to_its_png(tmp_path):
    _, small = save(Picture("small", "Small", "", noise(10)), tmp_path)
    png, large = save(Picture("large", "Large", "", noise(20_000)), tmp_path)
    assert large.stat().st_size > SVG_LIMIT
    assert plate("Small", "", small, 1).html.startswith("<svg") and plate("Small", "", small, 1).wide
    (image,) = Page(plate(EVIL, "", large, 2).html).all("img")
    assert image["alt"] == EVIL
    assert base64.b64decode(str(image["src"]).partition(",")[2]) == png.read_bytes()
    png.unlink()
    assert plate("Large", "", large, 3).html.startswith("<svg")


def test_a_page_of_nothing_is_still_a_page():
    page = Page(render("Empty", [], {}))
    assert "Empty" in page.text and len(page.scripts) == 1
