"""A checkpoint is continued on the data that it was made on, or not without a word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from semiseg.data.build import DataBundle
from semiseg.data.identity import check_same_data, identity
from semiseg.errors import ConfigError


@pytest.fixture
def before(bundle: DataBundle) -> dict[str, Any]:
    return identity(bundle)


def checked(before: dict[str, Any] | None, now: dict[str, Any] | None) -> list[str]:
    warnings: list[str] = []
    check_same_data(before, now, warnings.append)
    return warnings


def test_the_same_data_passes_and_so_does_what_an_older_checkpoint_does_not_say(
    before: dict[str, Any], make_bundle: Callable[..., DataBundle]
) -> None:
    assert checked(before, identity(make_bundle())) == []
    assert checked(None, before) == checked(before, None) == []


def test_other_classes_are_refused_also_where_only_their_order_changed(before: dict[str, Any]) -> None:
    turned = before | {"classes": before["classes"][::-1]}
    with pytest.raises(
        ConfigError, match=f"The classes are no longer those of the run: {', '.join(turned['classes'])}"
    ):
        checked(before, turned)


def test_another_validation_set_is_refused_and_says_how_large_it_was(before: dict[str, Any]) -> None:
    count, digest = before["val"]
    for others, said in (([count, digest[::-1]], "patches, others before"), ([count + 1, digest], f"{count:,} before")):
        with pytest.raises(ConfigError, match=f"validation set is no longer that of the run: .*{said}"):
            checked(before, before | {"val": others})


@pytest.mark.parametrize(("pool", "word"), [("train", "labelled"), ("unlabeled", "unlabelled")])
def test_other_training_patches_are_warned_of(before: dict[str, Any], pool: str, word: str) -> None:
    (warning,) = checked(before, before | {pool: [1, "another"]})
    assert warning.startswith(f"The {word} training patches are no longer those of the run: 1 patches, ")
