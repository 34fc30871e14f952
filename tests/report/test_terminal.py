import io

import pytest
from rich.console import Console

from semiseg.report.contents import Section
from semiseg.report.table import Cells
from semiseg.report.terminal import WIDTH, fitted, make_terminal, show

SCORES = Cells(
    "Scores",
    ["recipe", "seeds", "peak val mIoU", "difference", "95 % interval", "verdict", "stability"],
    [["v3 pseudo_label=none", "0, 1, 2", "0.5783 ± 0.0014", "+0.17", "[+0.1641, +0.1891]", "better", "0.0384"]],
    minor=("seeds", "stability"),
)  # fmt: skip


def drawn(cells: Cells, width: int) -> str:
    out = io.StringIO()
    terminal = Console(file=out, width=width)
    for part in fitted(cells, width):
        terminal.print(part)
    return out.getvalue()


def test_a_table_that_fits_is_whole():
    text = drawn(SCORES, 160)
    assert "stability" in text and "report.md" not in text and "v3 pseudo_label=none" in text


@pytest.mark.parametrize("width", [80, 90])
def test_minor_columns_give_way_in_a_narrow_terminal_and_the_title_says_where_they_are(width):
    text = drawn(SCORES, width)
    assert max(map(len, text.splitlines())) <= width and "continued" not in text
    assert "(in report.md also seeds, stability)" in " ".join(text.split())
    assert all(word in text for word in ("0.5783 ± 0.0014", "better", "+0.17")) and "0.0384" not in text


def test_rows_of_sentences_are_told_one_below_the_other():
    remedy = "trainer.batch_size=8 loss.dice_weight=0.5 loss.ce_weight=0.3 loss.focal_weight=0.2"
    cells = Cells(
        "Criteria", ["recipe", "seed", "lacking", "remedy"], [["v3", "0", "x " * 30, remedy], ["v1", "1", "", ""]]
    )
    lines = drawn(cells, 60).splitlines()
    assert max(map(len, lines)) <= 60
    assert [line.strip() for line in lines][1:3] == ["v3", "seed: 0"] and "continued" not in " ".join(lines)
    assert remedy in " ".join(" ".join(lines).split()) and "lacking:" not in " ".join(lines[-2:])


def test_a_table_with_a_column_a_recipe_is_split_between_recipes():
    cells = Cells(
        "Guide", ["metric", "v1", "v2", "v3"], [["Architecture", *["MultiHeadDeepLabV3Plus, resnet50, 3 heads"] * 3]]
    )
    text = drawn(cells, 50)
    assert "Guide, continued" in text and text.count("metric") == 2


def test_names_are_broken_where_their_parts_end():
    cells = Cells("t", ["recipe", "a", "b"], [["v3 pseudo_label.threshold=0.65", "1" * 20, "2" * 20]])
    assert "v3\npseudo_label.\nthreshold=0.65" in "\n".join(line[:18].strip() for line in drawn(cells, 62).splitlines())


def test_folded_tables_and_chapters_for_the_files_are_not_in_the_terminal():
    out = io.StringIO()
    terminal = Console(file=out, width=80)
    folded = Cells("Folded", ["a"], [["x"]], folded=True)
    show(terminal, Section("On paper", tables=[SCORES], on_paper=True))
    show(terminal, Section("Folded alone", tables=[folded]))
    assert out.getvalue() == ""
    show(terminal, Section("Both", tables=[SCORES, folded], notes=["a note"]))
    assert "Folded" not in out.getvalue() and "- a note" in out.getvalue()


@pytest.mark.parametrize("columns, width", [("80", 80), ("", WIDTH), ("wide", WIDTH)])
def test_a_pipe_is_as_wide_as_columns_says(monkeypatch, columns, width):
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.setenv("COLUMNS", columns)
    assert make_terminal().width == width
