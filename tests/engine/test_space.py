"""The estimate is what the files really take, and a disk that is too small is told of before the first step."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from semiseg.engine import space
from semiseg.engine.settings import OptimConfig
from semiseg.errors import ConfigError

OVERHEAD = 40_000  # bytes of names, plain values and padding that tensors do not account for


@pytest.mark.parametrize(
    "optim", [OptimConfig(lr=0.1, momentum=0.0), OptimConfig(lr=0.1, momentum=0.9), OptimConfig(optimizer="adamw")]
)
def test_estimate_is_the_size_of_the_files(make_engine, optim: OptimConfig) -> None:
    engine = make_engine(optim=optim, ema_decay=0.9, max_steps=4, save_every=2)
    one, most = space.checkpoint_bytes(engine), space.run_bytes(engine)
    engine.fit()
    latest = engine.checkpoints.latest.stat().st_size
    assert one <= latest <= one + OVERHEAD
    there = space.present_bytes(engine.checkpoints.folder)
    assert most - OVERHEAD <= there + one <= most + 12 * OVERHEAD
    assert space.checkpoint_bytes(engine) == one  # also once the moments are there


def test_keep_last_bounds_it(make_engine) -> None:
    every, two = (make_engine(max_steps=100, save_every=1, keep_last=keep) for keep in (None, 2))
    assert space.run_bytes(every) - space.run_bytes(two) == 97 * space.checkpoint_bytes(two)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch):
    def use(count: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=count))

    return use


def test_enough_some_and_none(make_engine, free) -> None:
    engine = make_engine(max_steps=100, save_every=1)
    one, most = space.checkpoint_bytes(engine), space.run_bytes(engine)
    free(most)
    assert space.check_space(engine) is None
    free(most - 1)
    assert "trainer.keep_last=2" in str(space.check_space(engine))
    free(one - 1)
    with pytest.raises(ConfigError, match=r"a checkpoint takes .* output=PATH"):
        space.check_space(engine)


def test_what_is_there_already_is_not_asked_for_again(make_engine, free) -> None:
    engine = make_engine(max_steps=4, save_every=2)
    engine.fit()
    free(space.checkpoint_bytes(engine))
    assert space.check_space(engine) is None


@pytest.mark.parametrize(("count", "text"), [(2**20, "1 MiB"), (350 * 2**20, "350 MiB"), (3 * 2**29, "1.5 GiB")])
def test_sizes_for_people(count: int, text: str) -> None:
    assert space.size(count) == text
