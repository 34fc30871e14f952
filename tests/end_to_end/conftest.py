"""A tiny Salak data set, and trainings on it through the command line's own function, in this process."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from semiseg.cli import run_verb
from semiseg.tracking.local import read_metrics

SIDE = 48
CLASSES = (("background", (20, 20, 20)), ("road", (200, 60, 60)), ("palm", (40, 180, 40)))
SOURCES = {  # by flight
    "salak-1-1": ("east_1", "east_2"),  # labelled
    "salak-1-2": ("north_1", "north_2"),  # held out for validation
    "salak-2-1": ("west_1", "west_2"),  # with masks that are hidden
    "salak-2-2": ("south_1",),  # without masks
}
LISTS = {"labeled.txt": ("east_1", "east_2"), "val.txt": ("north_1", "north_2")}
VOLATILE = (
    "time",
    "images_per_s",
    "seconds_per_step",
    "peak_memory_mib",
)  # of a line of metrics.jsonl: what two equal runs differ in
DEFAULTS = (
    "data=salak",
    "data.root=data",
    "data.labeled_list=data/labeled.txt",
    "data.val_list=data/val.txt",
    "data.encoder_weights=null",
    "data.class_thresholds=null",  # Salak's are those of other classes
    "++data.class_thresholds={background: null, road: 0, palm: 0}",
    "trainer.crop_size=32",
    "trainer.batch_size=2",
    "trainer.log_every=1",
    "trainer.num_workers=0",
    "tracking=none",
)
SMALL = ("model=lightweight", "aug=none", "trainer.max_steps=2")
TINY_NET = "model._target_=tests.end_to_end.networks.TinyNet"


def write_patch(folder: Path, stem: str, rng: np.random.Generator, with_mask: bool) -> None:
    """A patch of 8-pixel tiles, each noisy around the colour of its class; the first pixel is ignored."""
    tiles = rng.integers(len(CLASSES), size=(SIDE // 8, SIDE // 8))
    mask = np.kron(tiles, np.ones((8, 8), dtype=np.uint8)).astype(np.uint8)
    colors = np.array([color for _, color in CLASSES])
    image = np.clip(colors[mask] + rng.normal(0, 25, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    mask[0, 0] = 255
    cv2.imwrite(str(folder / "images" / f"{stem}.png"), image[..., ::-1])
    if with_mask:
        cv2.imwrite(str(folder / "masks" / f"{stem}.png"), mask)


def plant(root: Path) -> None:
    """Four flights with four patches a source, the class mapping, and the lists of labelled and held out sources."""
    rng = np.random.default_rng(0)
    for flight, sources in SOURCES.items():
        for name in ("images", "masks"):
            (root / flight / name).mkdir(parents=True)
        for source in sources:
            for row, column in np.ndindex(2, 2):
                write_patch(root / flight, f"{source}_patch_{row}_{column}", rng, with_mask=source != "south_1")
    rows = [f"{name},{' '.join(map(str, color))}" for name, color in CLASSES]
    (root / "class_mapping.csv").write_text("\n".join(["class_name,class_color", *rows]) + "\n", encoding="utf-8")
    for name, named in LISTS.items():
        (root / name).write_text("\n".join(named) + "\n", encoding="utf-8")


@contextmanager
def process_state() -> Iterator[None]:
    """Give back what a command sets in its process: arguments, environment, Hydra, random states, torch's switches."""
    python, numpy, threads = random.getstate(), np.random.get_state(), torch.get_num_threads()
    benchmark, deterministic = torch.backends.cudnn.benchmark, torch.are_deterministic_algorithms_enabled()
    with mock.patch.dict(os.environ), mock.patch.object(sys, "argv", list(sys.argv)), torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            GlobalHydra.instance().clear()
            OmegaConf.clear_resolver("run_name")
            random.setstate(python)
            np.random.set_state(numpy)
            torch.set_num_threads(threads)
            torch.backends.cudnn.benchmark = benchmark
            torch.use_deterministic_algorithms(deterministic)


@dataclass(frozen=True)
class RunFiles:
    """What a run left in its folder."""

    path: Path

    def load(self, name: str = "latest_checkpoint.pth") -> dict[str, Any]:
        """A file of `checkpoints/`, read as a user may read it: tensors and plain values alone."""
        return torch.load(self.path / "checkpoints" / name, weights_only=True)

    def names(self) -> set[str]:
        """What `checkpoints/` holds."""
        return {file.name for file in (self.path / "checkpoints").iterdir()}

    def metrics(self) -> list[dict[str, float]]:
        """The lines of metrics.jsonl without what two equal runs may differ in."""
        lines = read_metrics(self.path / "metrics.jsonl")
        return [{key: value for key, value in line.items() if key not in VOLATILE} for line in lines]

    def summary(self) -> dict[str, Any]:
        return json.loads((self.path / "summary.json").read_text(encoding="utf-8"))

    def contents(self) -> dict[str, bytes]:
        """Every file but the log, to see that a refused command leaves them as they were."""
        files = (file for file in sorted(self.path.rglob("*")) if file.is_file() and file.name != "log.txt")
        return {file.relative_to(self.path).as_posix(): file.read_bytes() for file in files}


@dataclass(frozen=True)
class Workplace:
    """A folder with the data set in `data/`, from which commands are typed."""

    path: Path

    @property
    def data(self) -> Path:
        return self.path / "data"

    def run(self, name: str) -> RunFiles:
        return RunFiles(self.path / "runs" / "semiseg" / name)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """In the folder, and out of it with the process as it was."""
        with process_state(), contextlib.chdir(self.path):
            yield

    def command(self, *overrides: str) -> int:
        """The exit status of `semiseg train` with these overrides and no others."""
        with self.entered():
            return run_verb("train", list(overrides))

    def typed(self, *overrides: str) -> list[str]:
        """The overrides, and those of `DEFAULTS` that they do not give."""
        return with_defaults(DEFAULTS, overrides)

    def typed_small(self, *overrides: str) -> list[str]:
        """The same for two steps, of a tiny network unless one is named: for tests to which it does not matter."""
        network = () if any(override.startswith("model") for override in overrides) else (TINY_NET,)
        return with_defaults((*DEFAULTS, *SMALL, *network), overrides)

    def train(self, *overrides: str) -> int:
        return self.command(*self.typed(*overrides))

    def train_small(self, *overrides: str) -> int:
        return self.command(*self.typed_small(*overrides))


def with_defaults(defaults: tuple[str, ...], overrides: tuple[str, ...]) -> list[str]:
    """The overrides, and before them the defaults whose key they do not give."""
    return list({override.partition("=")[0]: override for override in (*defaults, *overrides)}.values())


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set, to be copied and never to be changed."""
    root = tmp_path_factory.mktemp("planted") / "data"
    plant(root)
    return root


@contextmanager
def workplace(path: Path, planted: Path) -> Iterator[Workplace]:
    """A workplace whose runs are deleted at the end: pytest would keep hundreds of megabytes of checkpoints."""
    shutil.copytree(planted, path / "data")
    yield Workplace(path)
    shutil.rmtree(path / "runs", ignore_errors=True)


@pytest.fixture
def place(tmp_path: Path, planted: Path) -> Iterator[Workplace]:
    """A workplace of one test, whose data the test may change."""
    with workplace(tmp_path, planted) as place:
        yield place


@pytest.fixture(scope="module")
def shared_place(tmp_path_factory: pytest.TempPathFactory, planted: Path) -> Iterator[Workplace]:
    """A workplace of all tests of a file, for runs that several of them look at."""
    with workplace(tmp_path_factory.mktemp("shared"), planted) as place:
        yield place


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, planted: Path) -> Iterator[Workplace]:
    """A workplace with a finished small run called "done", to be copied and never to be changed."""
    with workplace(tmp_path_factory.mktemp("trained"), planted) as place:
        assert place.train_small("name=done") == 0
        yield place


@pytest.fixture
def finished(place: Workplace, trained: Workplace) -> tuple[Workplace, RunFiles]:
    """A workplace of one test with a finished run called "done" of two steps."""
    shutil.copytree(trained.path / "runs", place.path / "runs")
    return place, place.run("done")


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Check that a command ended with status 1 and one message that holds every part, and nothing else on stderr."""

    def check(status: int, *parts: str) -> None:
        error = capfd.readouterr().err
        assert status == 1
        assert error.startswith("semiseg: ") and error.endswith("\n") and error.count("\n") == 1, error
        assert not [part for part in parts if part not in error], error

    return check
