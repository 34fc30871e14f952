from pathlib import Path

import pytest

from semiseg.errors import ConfigError
from semiseg.tracking.naming import entity_name, flatten, hide_password, store_uri, without_passwords


def test_names_keep_what_mlflow_takes_and_replace_the_rest():
    assert entity_name("val/iou/Badan Air") == "val/iou/Badan Air"
    assert entity_name("a+b@c:d") == "a_b_c_d"
    assert entity_name("/../x//y/") == "__/x/y"
    assert len(entity_name("x" * 300)) == 250


def test_settings_are_flattened_and_long_ones_cut_with_a_note():
    flat = flatten({"trainer": {"max_steps": 5, "empty": {}}, "list": [1, None], "long": "y" * 9000})
    assert flat["trainer.max_steps"] == "5" and flat["trainer.empty"] == "{}" and flat["list"] == "[1, None]"
    assert len(flat["long"]) == 6000 and flat["long"].endswith("(cut, 9000 characters)")


def test_sqlite_paths_become_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "runs"
    assert store_uri(None, root) == f"sqlite:///{root.as_posix()}/mlflow.db"
    assert store_uri("sqlite:///here.db", root) == f"sqlite:///{(Path.cwd() / 'here.db').as_posix()}"
    assert store_uri("http://host:5000", root) == "http://host:5000"


@pytest.mark.parametrize("uri", ["runs/mlruns", "file:///mlruns", "htp://host", "C:/mlflow.db"])
def test_a_uri_mlflow_cannot_use_is_refused_with_the_remedy(uri):
    with pytest.raises(ConfigError, match=r"tracking\.uri=.*sqlite:///.*tracking=none"):
        store_uri(uri, Path("runs"))


def test_passwords_are_hidden():
    assert hide_password("see http://me:secret@host:5000/x") == "see http://me:***@host:5000/x"


def test_a_config_is_shared_without_its_passwords(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("uri: http://me:secret@host:5000\nname: wörter\n", encoding="utf-8")
    with without_passwords(path) as shared:
        assert shared.name == path.name
        assert shared.read_text(encoding="utf-8") == "uri: http://me:***@host:5000\nname: wörter\n"
    assert not shared.exists() and "secret" in path.read_text(encoding="utf-8")
    path.write_text("name: wörter\n", encoding="utf-8")
    with without_passwords(path) as shared:
        assert shared == path
