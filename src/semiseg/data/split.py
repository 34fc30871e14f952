"""Which patches train, validate and stay unlabelled."""

from __future__ import annotations

import difflib
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semiseg.data.config import DataConfig
from semiseg.data.index import FREE, VAL, PatchIndex
from semiseg.data.layouts.base import IMAGE_SUFFIXES
from semiseg.data.lists import Entry, check_inside, read_list
from semiseg.errors import DataError

Patches = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass
class Pools:
    """Patch numbers of the three pools, ascending; `notes` and `warnings` say what they are made of."""

    train: Patches
    val: Patches
    unlabeled: Patches
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def check_disjoint(self) -> None:
        """Raises DataError when two pools share a patch."""
        pools = {"labelled train": self.train, "validation": self.val, "unlabelled": self.unlabeled}
        names = list(pools)
        for first, second in ((names[0], names[1]), (names[0], names[2]), (names[1], names[2])):
            shared = np.intersect1d(pools[first], pools[second])
            if len(shared):
                raise DataError(
                    f"{len(shared):,} patches are in both the {first} and the {second} pool, the first is patch "
                    f"{shared[0]}. Check data.labeled_list and data.val_list."
                )


def make_pools(index: PatchIndex, cfg: DataConfig) -> Pools:
    """Split an index by lists, by what the layout fixes, or at random (`data.split_seed`).

    Labelled are the patches with a mask whose source `labeled_list` names; the masks of other sources are hidden, and
    their patches unlabelled. Validation is `val_list`, else what the layout fixes, else a share `val_split` of the
    labelled. Patches of sources given to validation are never trained on, except the unlabelled ones beside a
    validation patch under `split_by=patch`.

    Raises DataError for unknown names in a list and for an empty training or validation pool.
    """
    named = _in_list(index, cfg.labeled_list, "data.labeled_list")
    labeled = index.has_mask & named
    held_out = _in_list(index, cfg.val_list, "data.val_list") if cfg.val_list else np.zeros(len(index), dtype=np.bool_)
    if cfg.val_list:
        val = index.has_mask & held_out
    elif (index.subset == VAL).any():
        val = index.has_mask & (index.subset == VAL)
    else:
        val = _hold_out(index, labeled & (index.subset == FREE), cfg)
    # What a layout fixes as validation is kept out of training even where val_list names other sources.
    never_train = held_out | val | (index.subset == VAL)
    if cfg.split_by == "source":
        never_train |= np.isin(index.source_id, np.unique(index.source_id[val]))
    train = labeled & ~never_train
    unlabeled = ~(index.has_mask & named) & ~never_train
    pools = Pools(np.flatnonzero(train), np.flatnonzero(val), np.flatnonzero(unlabeled))
    _check_filled(index, pools, cfg)
    pools.notes = _notes(index, pools)
    pools.warnings = _warnings(index, pools, labeled, cfg)
    return pools


def read_source_list(path: Path, sources: list[str], setting: str) -> list[int]:
    """Numbers of the sources that a text file names, one a line, extension and folder optional, `#` comments.

    Raises DataError for a missing or empty list, for an entry that leads out of the data set, and for names that are no
    source, with the nearest that are.
    """
    number = {source: position for position, source in enumerate(sources)}
    remedy = f"Give a text file of base images with {setting}=PATH."
    entries = read_list(path, remedy)
    if not entries:
        raise DataError(f"{path} names no source. Write one base image a line, such as {sources[0]}.")
    names = {entry.text: _source_name(path, entry, number, remedy) for entry in entries}
    unknown = [text for text, name in names.items() if name not in number]
    if unknown:
        near = difflib.get_close_matches(unknown[0], sources, n=3, cutoff=0.5) or sources[:3]
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise DataError(
            f"{path} names {len(unknown)} of {len(names)} sources that the data set does not have: {shown}. "
            f"Nearest to {unknown[0]}: {', '.join(near)}. Correct the list or {setting}=PATH."
        )
    return sorted({number[name] for name in names.values()})


def _source_name(path: Path, entry: Entry, known: Container[str], remedy: str) -> str:
    """A list's entry as a source's name: as it is, else without folder and image suffix."""
    if entry.text in known:
        return entry.text
    check_inside(path, entry, remedy)
    return entry.path.stem if entry.path.suffix.lower() in IMAGE_SUFFIXES else entry.path.name


def _in_list(index: PatchIndex, file: str | None, setting: str) -> Flags:
    """[N] patches whose source the list names; all of them without a list."""
    if file is None:
        return np.ones(len(index), dtype=np.bool_)
    return np.isin(index.source_id, read_source_list(Path(file).expanduser(), index.sources, setting))


def _hold_out(index: PatchIndex, candidates: Flags, cfg: DataConfig) -> Flags:
    """[N] a share `val_split` of the candidate patches, by source or by patch."""
    rng = np.random.default_rng(cfg.split_seed)
    patches = np.flatnonzero(candidates)
    val = np.zeros(len(index), dtype=np.bool_)
    if cfg.split_by == "patch":
        if len(patches) > 1:
            count = min(max(round(cfg.val_split * len(patches)), 1), len(patches) - 1)
            val[rng.permutation(patches)[:count]] = True
        return val
    sources, sizes = np.unique(index.source_id[patches], return_counts=True)
    if len(sources) == 1:
        raise DataError(
            f"All {len(patches):,} labelled patches are of one source, {index.sources[sources[0]]}, so none can be "
            "held out whole. Use data.split_by=patch (neighbours leak), or name other sources with data.val_list=PATH."
        )
    if len(sources):
        order = rng.permutation(len(sources))
        chosen = order[_nearest_share(sizes[order], cfg.val_split * len(patches))]
        val = candidates & np.isin(index.source_id, sources[chosen])
    return val


def _nearest_share(sizes: NDArray[np.int64], target: float) -> list[int]:
    """Walk through the sizes and take each that brings the sum nearer to `target`: at least one, never all."""
    chosen, total = [], 0
    for position, size in enumerate(sizes.tolist()):
        if abs(total + size - target) < abs(total - target):
            chosen.append(position)
            total += size
    if not chosen:
        return [int(np.argmin(sizes))]
    return chosen[:-1] if len(chosen) == len(sizes) else chosen


def _check_filled(index: PatchIndex, pools: Pools, cfg: DataConfig) -> None:
    """Raises DataError for an empty training or validation pool."""
    if not index.has_mask.any():
        raise DataError(
            f"{index.root}: none of the {len(index):,} images has a mask. Put masks of the same name into masks/."
        )
    if not len(pools.train):
        cause = (
            f"{cfg.labeled_list} names no source with a mask outside validation"
            if cfg.labeled_list
            else ("every patch with a mask is held out for validation")
        )
        raise DataError(
            f"{index.root}: no labelled patch is left to train on: {cause}. Check data.labeled_list and data.val_list."
        )
    if not len(pools.val):
        cause = f"no source of {cfg.val_list} has a mask" if cfg.val_list else "too few labelled patches"
        raise DataError(
            f"{index.root}: the validation pool is empty: {cause}. Name sources with masks in data.val_list=PATH."
        )


def _notes(index: PatchIndex, pools: Pools) -> list[str]:
    hidden = int(index.has_mask[pools.unlabeled].sum())
    lines = []
    for name, patches in (("labelled train", pools.train), ("validation", pools.val), ("unlabelled", pools.unlabeled)):
        count = len(np.unique(index.source_id[patches]))
        lines.append(f"{name} {len(patches):,} patches of {count:,} source{'' if count == 1 else 's'}")
    if hidden:
        lines[-1] += f" ({hidden:,} with a hidden mask)"
    return lines


def _warnings(index: PatchIndex, pools: Pools, labeled: Flags, cfg: DataConfig) -> list[str]:
    warnings = []
    learned = index.source_id[np.concatenate([pools.train, pools.unlabeled])]
    shared = np.intersect1d(learned, index.source_id[pools.val])
    if len(shared):
        warnings.append(
            f"{len(shared):,} sources are on both sides of the split: neighbours of validation patches are trained on, "
            "so validation reads too high (data.split_by=source avoids it)"
        )
    both = np.intersect1d(index.source_id[labeled], index.source_id[pools.val])
    if cfg.labeled_list and cfg.val_list and len(both):
        warnings.append(f"{len(both):,} sources are in both {cfg.labeled_list} and {cfg.val_list}: they only validate")
    return warnings
