"""Fixtures that many tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch reads it, and for the processes that tests start

import cv2
import numpy as np
import pytest
import torch
import yaml
from hydra._internal.hydra import Hydra
from hydra.types import RunMode

from semiseg.models.cost import latency_ms

PROJECT = Path(__file__).parents[1]
SALAK_CLASSES = (
    ("background", (0, 0, 0)),
    ("Badan Air", (0, 0, 255)),
    ("Bangunan", (255, 0, 0)),
    ("Jalan", (128, 128, 128)),
    ("Pohon Berinang", (0, 128, 0)),
    ("Snake Fruit", (128, 255, 0)),
    ("Tanah Terbuka", (160, 82, 45)),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: a process that starts it last keeps the other ones waiting."""
    items.sort(key=lambda item: item.path.name != "test_kill.py")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, of which tests that wait for processes and servers leave some idle."""
    return min(8, (os.cpu_count() or 1) + 1)


SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@pytest.fixture(scope="session", autouse=True)
def heeded_signals() -> None:
    """What started the tests may ignore signals (nohup, a shell's background), and all that they start would too."""
    for number in SIGNALS:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def signals_left_as_they_were(heeded_signals: None) -> Iterator[None]:
    """A test that leaves a handler behind would decide what later ones see."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.fixture(scope="session", autouse=True)
def quickly_composed() -> Iterator[None]:
    """Hydra composes a config twice, the first time to learn `hydra.mode`: here only what is typed sets it.

    And its YAML is read by the parser in C, where there is one.
    """

    def typed_mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> RunMode | None:
        typed = [each.partition("=")[2] for each in overrides if each.startswith("hydra.mode=")]
        return RunMode[typed[-1]] if typed else None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hydra, "get_mode", typed_mode)
        patch.setattr(yaml, "SafeLoader", getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        yield


@pytest.fixture(scope="session", autouse=True)
def quickly_timed() -> Iterator[None]:
    """The summary of each training times its network for three passes, not for a tenth of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency_ms, "__defaults__", (0.0,))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny tensors are slower on many threads, which wait for each other where several tests run."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


@pytest.fixture(scope="session")
def dubai() -> Path:
    """Root of the real aerial patches; skips where they are absent."""
    root = Path(os.environ.get("SEMISEG_DUBAI", PROJECT.parent / "shared" / "data" / "dubai-landcover"))
    if not (root / "class_mapping.csv").is_file():
        pytest.skip(f"no real patches: {root} does not exist; name their folder in SEMISEG_DUBAI")
    return root


@pytest.fixture
def salak_root(tmp_path: Path) -> Path:
    """A tiny data set in the salak layout: 3 flights, 6 sources, 24 patches of 32x32.

    Each source has the patches (0, 0), (0, 1), (1, 0), (1, 1). Sources a to d are labelled, c with masks of colours
    and the others with ids; e and f have no masks. The first pixel of every mask is ignored.
    """
    root = tmp_path / "salak"
    rng = np.random.default_rng(0)
    for flight, sources in (("salak-1-1", "ab"), ("salak-1-2", "cd"), ("salak-2-1", "ef")):
        for source in sources:
            for row, column in np.ndindex(2, 2):
                _write_patch(root / flight, f"{source}_patch_{row:03d}_{column:03d}", rng, masked=source in "abcd")
    rows = [f"{name},{' '.join(map(str, color))}" for name, color in SALAK_CLASSES]
    (root / "class_mapping.csv").write_text("\n".join(["class_name,class_color", *rows]) + "\n", encoding="utf-8")
    return root


def _write_patch(folder: Path, stem: str, rng: np.random.Generator, masked: bool) -> None:
    for name in ("images", "masks") if masked else ("images",):
        (folder / name).mkdir(parents=True, exist_ok=True)
    image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "images" / f"{stem}.png"), image)
    if masked:
        mask = np.repeat(np.repeat(rng.integers(0, len(SALAK_CLASSES), (4, 4), dtype=np.uint8), 8, axis=0), 8, axis=1)
        if stem.startswith("c"):
            table = np.array([color for _, color in SALAK_CLASSES], dtype=np.uint8)
            colored = table[mask]
            colored[0, 0] = 255
            cv2.imwrite(str(folder / "masks" / f"{stem}.png"), colored[..., ::-1])
        else:
            mask[0, 0] = 255
            cv2.imwrite(str(folder / "masks" / f"{stem}.png"), mask)
