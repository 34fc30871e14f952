import io

import pytest
from rich.console import Console

from semiseg.report.table import Cells, mean_text


def drawn(cells: Cells, width: int = 160) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(cells.rich())
    return out.getvalue()


def test_the_same_cells_in_markdown_and_in_the_terminal():
    cells = Cells("Scores", ["recipe", "a|b"], [["v3 [x]", "1"]])
    assert cells.markdown() == "### Scores\n\n| recipe | a\\|b |\n| --- | --- |\n| v3 [x] | 1 |\n"
    assert all(text in drawn(cells) for text in ("Scores", "a|b", "v3 [x]"))


def test_numbers_are_to_the_right_and_words_to_the_left():
    cells = Cells("t", ["recipe", "number", "word"], [["a", "+1.5", "better"], ["b", "", "x"], ["c", "12,000", ""]])
    columns = cells.rich().columns
    assert [column.justify for column in columns] == ["left", "right", "left"]


def test_a_wide_table_is_shown_in_parts_that_fit_with_the_first_column_again():
    header = ["recipe", *(f"class {n}" for n in range(21))]
    cells = Cells("Class IoU", header, [["v3", *(f"0.{n:02d}00 ± 0.0100" for n in range(21))]])
    parts = cells.parts(100)
    assert [part.title for part in parts] == ["Class IoU", *["Class IoU, continued"] * (len(parts) - 1)]
    assert all(part.header[0] == "recipe" and part.rows[0][0] == "v3" for part in parts)
    assert [name for part in parts for name in part.header[1:]] == header[1:]
    lines = [line for part in parts for line in drawn(part, 100).splitlines()]
    assert max(map(len, lines)) <= 100 and not any("…" in line for line in lines)
    assert cells.parts(1000) == [cells]


def test_no_text_is_lost_where_every_column_is_full():
    words = [[f"{row}{column}" + "word " * 12 for column in "abcdef"] for row in range(3)]
    cells = Cells("t", [f"a long heading {n} of this column" for n in range(6)], words)
    lines = [line for part in cells.parts(160) for line in drawn(part, 160).splitlines()]
    assert max(map(len, lines)) <= 160
    text = "".join(lines)
    assert all(f"{row}{column}" in text for row in range(3) for column in "abcdef")
    assert text.count("word") >= 12 * 18


def test_one_column_that_is_too_wide_is_a_part_of_its_own():
    cells = Cells("t", ["a", "b", "c"], [["x" * 30, "y" * 90, "z" * 90]])
    assert [part.header for part in cells.parts(40)] == [["a", "b"], ["a", "c"]]


def test_long_tables_are_cut_with_a_word_and_empty_columns_left_out():
    cells = Cells("t", ["a", "b", "c"], [["1", "", "x"], ["2", "", ""]])
    assert cells.first(1) == Cells("t (the first 1 of 2 rows)", ["a", "b", "c"], [["1", "", "x"]])
    assert cells.first(2) is cells
    assert cells.without_empty().header == ["a", "c"]


@pytest.mark.parametrize(
    ("found", "text"),
    [(None, ""), ((0.5, None), "0.500"), ((0.5, 0.0), "0.500 ± 0.000"), ((0.5, 0.02), "0.500 ± 0.020")],
)
def test_means(found, text):
    assert mean_text(found, "{:.3f}") == text
