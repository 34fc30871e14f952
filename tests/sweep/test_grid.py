"""The jobs of a grid are all combinations, in an order that finishes one choice before the next."""

from __future__ import annotations

import pytest

from semiseg.errors import ConfigError
from semiseg.sweep.grid import combinations


def overrides(*arguments, params=None, alternatives=()) -> list[tuple[str, ...]]:
    return [each.overrides for each in combinations(params or {}, alternatives, arguments)]


def test_every_combination_once_and_the_last_changes_fastest() -> None:
    found = overrides("model=v1,v2", "optim.lr=0.1", "seed=range(0,2)")
    assert found == [
        ("model=v1", "optim.lr=0.1", "seed=0"),
        ("model=v1", "optim.lr=0.1", "seed=1"),
        ("model=v2", "optim.lr=0.1", "seed=0"),
        ("model=v2", "optim.lr=0.1", "seed=1"),
    ]


def test_a_value_given_twice_is_one_job() -> None:
    assert overrides("seed=0,1,0") == [("seed=0",), ("seed=1",)]


def test_a_single_value_is_one_job_with_nothing_varied() -> None:
    (job,) = combinations({}, [], ["model=v1", "aug.scale_range=[0.5,2.0]"])
    assert job.overrides == ("model=v1", "aug.scale_range=[0.5,2.0]")
    assert job.varied == ()


def test_what_varies_is_what_has_several_values() -> None:
    jobs = combinations({"seed": "0,1"}, [["a=1", "b=2"], ["c=3"]], ["model=v3"])
    assert [job.varied for job in jobs] == [
        ("a=1", "b=2", "seed=0"),
        ("a=1", "b=2", "seed=1"),
        ("c=3", "seed=0"),
        ("c=3", "seed=1"),
    ]
    assert all("model=v3" in job.overrides for job in jobs)


def test_typed_values_replace_those_of_the_recipe() -> None:
    assert overrides("seed=7,8", params={"seed": "0,1,2"}) == [("seed=7",), ("seed=8",)]
    assert overrides("++a.b=1", params={"+a.b": 3}) == [("++a.b=1",)]


@pytest.mark.parametrize(("value", "text"), [(3, "3"), (None, "null"), (True, "true"), (0.5, "0.5"), ("word", "word")])
def test_values_of_a_recipe_are_written_as_they_are_typed(value: object, text: str) -> None:
    assert overrides(params={"key": value}) == [(f"key={text}",)]


def test_what_speaks_of_the_sweep_is_no_setting_of_a_job() -> None:
    assert overrides("+sweep=ladder", "resume=true", "seed=0,1") == [("seed=0",), ("seed=1",)]


def test_keys_keep_their_sign_and_values_their_quotes() -> None:
    assert overrides("+trainer.x=1,2", "data.root='a b','c'") == [
        ("+trainer.x=1", "data.root='a b'"),
        ("+trainer.x=1", "data.root='c'"),
        ("+trainer.x=2", "data.root='a b'"),
        ("+trainer.x=2", "data.root='c'"),
    ]


def test_an_interval_has_no_values_to_combine() -> None:
    with pytest.raises(ConfigError, match=r"optim\.lr=interval\(0,1\): list the values.*hydra/sweeper=optuna"):
        overrides("optim.lr=interval(0,1)")
