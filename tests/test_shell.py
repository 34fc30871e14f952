from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from semiseg.overrides import override
from semiseg.shell import PROJECT, as_typed, command, program

SHOW = "import sys; print(sys.argv[1:])"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("model=v3", "model=v3"),
        ("seed=0,1", "seed=0,1"),
        ("data.root=D:/my data", '"data.root=D:/my data"'),
        ('data.root="D:/my data"', "\"data.root='D:/my data'\""),
        ("a=[null,0.5]", '"a=[null,0.5]"'),
    ],
)
def test_only_double_quotes_stand_around_a_word(word: str, expected: str) -> None:
    assert as_typed(word) == expected


def test_a_command_works_where_it_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files train.py and compare.py lie in one folder only; one of another program does not count."""
    monkeypatch.chdir(PROJECT)
    assert (program("train"), program("compare")) == ("python train.py", "python compare.py")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").touch()
    assert (program("train"), program("compare")) == ("semiseg train", "semiseg compare")


@pytest.mark.skipif(os.name == "nt", reason="a shell of Unix")
@pytest.mark.parametrize("value", ["a b", "it's", 'a"b', "${seed}", "50%", "a\\b", "x!y", "*", "(1)", "a;b", "ä"])
def test_the_shell_hands_over_what_was_meant(value: str) -> None:
    word = f"name={value}"
    line = f"{shlex.quote(sys.executable)} -c {shlex.quote(SHOW)} {as_typed(word)}"
    found = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True, encoding="utf-8").stdout
    assert found.strip() == str([word])


def test_a_folder_with_a_blank_can_be_typed_into_any_shell() -> None:
    assert override("restore_from", "C:/my runs/a.pth") == "\"restore_from='C:/my runs/a.pth'\""
    assert command(["semiseg", "train", "loss=ce"]) == "semiseg train loss=ce"
