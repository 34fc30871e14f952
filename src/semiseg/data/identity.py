"""What a training was done on, to tell whether it is continued on the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from semiseg.data.build import DataBundle
from semiseg.data.split import Patches
from semiseg.errors import ConfigError

POOLS = {"train": "labelled", "unlabeled": "unlabelled"}  # which may change: nothing is measured on them
GIVE = "Give the data, the lists and the data.split_seed that the run had"
ANEW = "or start a run of another name= from its weights alone (restore_from= with best_model.pth)"


def identity(bundle: DataBundle) -> dict[str, Any]:
    """Names of the classes, and of each pool the number of patches and a digest of their names below the root."""
    pools = {pool: getattr(bundle.pools, pool) for pool in ("train", "val", "unlabeled")}
    digests = {pool: [len(patches), _digest(bundle, patches)] for pool, patches in pools.items()}
    return {"classes": list(bundle.classes.names), **digests}


def check_same_data(
    before: Mapping[str, Any] | None, now: Mapping[str, Any] | None, warn: Callable[[str], None]
) -> None:
    """Compare the data of a checkpoint with that of the run which continues it; None, of older versions, fits any.

    Raises ConfigError for other classes and for another validation set: its scores could not be compared, and patches
    of it may have been trained on. Other training patches are warned of.
    """
    if before is None or now is None:
        return
    if before["classes"] != now["classes"]:
        raise ConfigError(
            f"The classes are no longer those of the run: {', '.join(now['classes'])}; before "
            f"{', '.join(before['classes'])}. {GIVE}, {ANEW}."
        )
    if before["val"] != now["val"]:
        raise ConfigError(
            f"The validation set is no longer that of the run: {_change(before['val'], now['val'])}. Scores on the two "
            f"cannot be compared, and the one may hold what was trained on with the other. {GIVE}, {ANEW}."
        )
    for pool, word in POOLS.items():
        if before[pool] != now[pool]:
            warn(
                f"The {word} training patches are no longer those of the run: {_change(before[pool], now[pool])}. "
                "The training goes on with the present ones and is no repetition of an undisturbed run."
            )


def _digest(bundle: DataBundle, patches: Patches) -> str:
    index, digest = bundle.index, hashlib.blake2b(digest_size=16)
    for place, stem in zip(index.image_place[patches].tolist(), index.stems[patches].tolist(), strict=True):
        digest.update(os.fsencode(index.places[place][0]) + stem + b"\0")
    return digest.hexdigest()


def _change(before: list[Any], now: list[Any]) -> str:
    return f"{now[0]:,} patches, {'others' if before[0] == now[0] else f'{before[0]:,}'} before"
