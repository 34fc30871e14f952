from pathlib import Path

import pytest

from semiseg.data.classes import read_class_mapping
from semiseg.errors import DataError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_ids_are_the_order_of_the_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", "\ufeffclass_name,class_color\r\nBadan Air,0 0 255\r\n\r\nsoil,160 82 45\r\n")
    classes = read_class_mapping(path)
    assert classes.names == ("Badan Air", "soil")
    assert classes.colors == ((0, 0, 255), (160, 82, 45))
    assert classes.num_classes == 2


def test_real_mapping(dubai: Path) -> None:
    classes = read_class_mapping(dubai / "class_mapping.csv")
    assert classes.names == ("building", "land_unpaved", "road", "vegetation", "water")
    assert classes.colors[2] == (110, 193, 228)


@pytest.mark.parametrize(
    ("text", "line", "got"),
    [
        ("", 1, "empty"),
        ("name,color\na,0 0 0\n", 1, "name,color"),
        ("class_name,class_color\na,0 0 0\nb,0 0\n", 3, "'0 0'"),
        ("class_name,class_color\na,0 0 256\nb,1 1 1\n", 2, "0 0 256"),
        ("class_name,class_color\na,-1 0 0\nb,1 1 1\n", 2, "-1 0 0"),
        ("class_name,class_color\na,0,0,0\nb,1 1 1\n", 2, "4 columns"),
        ("class_name,class_color\n,0 0 0\nb,1 1 1\n", 2, "no name"),
        ("class_name,class_color\na,0 0 0\n\na,1 1 1\n", 4, "a is that of line 2"),
        ("class_name,class_color\na,0 0 0\nb,0 0 0\n", 3, "line 2"),
    ],
)
def test_malformed_line_is_named(tmp_path: Path, text: str, line: int, got: str) -> None:
    path = write(tmp_path / "m.csv", text)
    with pytest.raises(DataError) as error:
        read_class_mapping(path)
    assert str(path) in str(error.value)
    assert f"line {line}:" in str(error.value)
    assert got in str(error.value)


@pytest.mark.parametrize("count", [0, 1, 255])
def test_number_of_classes(tmp_path: Path, count: int) -> None:
    rows = "".join(f"c{number},{number} 0 0\n" for number in range(count))
    with pytest.raises(DataError, match=f"got {count} classes"):
        read_class_mapping(write(tmp_path / "m.csv", "class_name,class_color\n" + rows))


def test_missing_and_binary_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist.*data.class_mapping="):
        read_class_mapping(tmp_path / "none.csv")
    (tmp_path / "m.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        read_class_mapping(tmp_path / "m.csv")
