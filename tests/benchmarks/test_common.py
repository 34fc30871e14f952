import importlib.util
from pathlib import Path

import pytest

from semiseg.errors import SemisegError
from semiseg.files import write_json

PATH = Path(__file__).parents[2] / "benchmarks" / "common.py"


@pytest.fixture(scope="module")
def common():
    spec = importlib.util.spec_from_file_location("benchmarks_common", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class FakeRunner:
    """Ends a run with a status, and remembers how it was called and what was there."""

    def __init__(self, folder: Path, status: str = "finished") -> None:
        self.folder, self.status, self.calls, self.found = folder, status, [], []

    def __call__(self, arguments: list[str], threads: int) -> None:
        self.calls.append(arguments)
        self.found = sorted(path.name for path in self.folder.rglob("*") if path.is_file())
        write_json(self.folder / "summary.json", {"status": self.status, "steps": 7})


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "out" / "methods" / "a"


def checkpoint(folder: Path) -> None:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "latest_checkpoint.pth").write_bytes(b"x")


def test_a_new_run_is_started_in_its_folder(common, folder):
    runner = FakeRunner(folder)
    assert common.train(folder, ["seed=1"], 1, runner)["steps"] == 7
    place = [f"output={folder.parents[1].as_posix()}", "experiment_name=methods", "name=a"]
    assert runner.calls == [["train", *place, "seed=1"]]


@pytest.mark.parametrize("status", ["finished", "stopped early"])
def test_a_complete_run_is_not_run_again(common, folder, status):
    write_json(folder / "summary.json", {"status": status, "steps": 3})
    runner = FakeRunner(folder)
    assert common.train(folder, [], 1, runner)["steps"] == 3 and runner.calls == []


@pytest.mark.parametrize("status", ["interrupted", "failed", None])
def test_an_incomplete_run_with_a_checkpoint_is_continued(common, folder, status):
    checkpoint(folder)
    if status is not None:
        write_json(folder / "summary.json", {"status": status})
    runner = FakeRunner(folder)
    common.train(folder, [], 1, runner)
    assert "resume=true" in runner.calls[0] and "latest_checkpoint.pth" in runner.found


def test_an_incomplete_run_without_a_checkpoint_starts_anew(common, folder):
    write_json(folder / "summary.json", {"status": "failed"})
    (folder / "metrics.jsonl").write_text("{}\n", encoding="utf-8")
    runner = FakeRunner(folder)
    common.train(folder, [], 1, runner)
    assert "resume=true" not in runner.calls[0] and runner.found == []


def test_a_run_that_does_not_complete_is_an_error(common, folder):
    with pytest.raises(SemisegError, match="interrupted"):
        common.train(folder, [], 1, FakeRunner(folder, "interrupted"))
