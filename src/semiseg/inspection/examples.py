"""Which patches stand for a data set on its contact sheet."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from semiseg.data.masks import read_image, read_mask
from semiseg.data.split import Patches
from semiseg.inspection.figures import Inspection
from semiseg.inspection.sheet import Section, Tile, UInt8, draw_sheet, fit, overlay

OF_A_CLASS = 2
OF_VALIDATION = 8
UNLABELED = 16
CLEAR_SHARE = 0.4  # of a patch: enough of the class to see it, and enough of what is around it


def contact_sheet(inspection: Inspection) -> UInt8:
    """Labelled examples of every class, some of validation, some unlabelled; [H, W, 3] RGB."""
    bundle, train = inspection.bundle, inspection.train
    names = [f"{name}  {share:.1%}" for name, share in zip(bundle.classes.names, train.share[:-1], strict=True)]
    legend = list(zip(names, bundle.classes.colors, strict=True))
    if train.pixels[-1]:
        legend.append((f"ignored  {train.share[-1]:.1%}", (255, 255, 255)))
    pools = inspection.pools
    sizes = ", ".join(f"{pools[name][0]:,} {name}" for name in ("train", "val", "unlabelled"))
    return draw_sheet(
        bundle.index.root.name,
        f"{bundle.index.root}: {sizes} patches. Shares of the labelled training pixels.",
        legend,
        [
            Section("Labelled: examples of every class, the rarest first", _class_tiles(inspection)),
            Section("Validation, with the largest class of each patch", _val_tiles(inspection)),
            Section("Unlabelled", _unlabeled_tiles(inspection)),
        ],
    )


def class_examples(inspection: Inspection, number: int, used: set[int]) -> list[int]:
    """Rows of the scan that show a class well; where possible none of those `used` already, and of two sources."""
    scan, index = inspection.scan, inspection.bundle.index
    rows = _sound_rows(inspection, inspection.bundle.pools.train)
    rows = rows[scan.pixels[rows, number] > 0]
    share = scan.pixels[rows, number] / scan.pixels[rows].sum(axis=1)
    clearest = rows[np.argsort(np.abs(share - CLEAR_SHARE), kind="stable")].tolist()
    order = sorted(clearest, key=lambda row: row in used)  # stable: still the clearest first
    source = {row: int(index.source_id[scan.patches[row]]) for row in order}
    rest = sorted(order[1:], key=lambda row: (row in used, source[row] == source[order[0]]))
    return [*order[:1], *rest][:OF_A_CLASS]


def _class_tiles(inspection: Inspection) -> list[Tile]:
    tiles: list[Tile] = []
    used: set[int] = set()
    for number in np.argsort(inspection.train.pixels[:-1], kind="stable").tolist():  # the rare choose first
        rows = class_examples(inspection, number, used)
        used.update(rows)
        tiles += [_pair(inspection, row, number) for row in rows]
    return tiles


def _val_tiles(inspection: Inspection) -> list[Tile]:
    rows = _spread(_sound_rows(inspection, inspection.bundle.pools.val), OF_VALIDATION)
    return [_pair(inspection, row, int(inspection.scan.pixels[row, :-1].argmax())) for row in rows]


def _unlabeled_tiles(inspection: Inspection) -> list[Tile]:
    tiles = []
    for row in _spread(_sound_rows(inspection, inspection.bundle.pools.unlabeled), UNLABELED):
        patch = int(inspection.scan.patches[row])
        image = fit(read_image(inspection.bundle.index.image_path(patch)), cv2.INTER_AREA)
        folder, _, name = inspection.bundle.index.name(patch).rpartition("/")
        tiles.append(Tile([image], name, folder))
    return tiles


def _pair(inspection: Inspection, row: int, number: int) -> Tile:
    """Image and overlay, captioned with one class and its share of the patch."""
    bundle, scan = inspection.bundle, inspection.scan
    patch = int(scan.patches[row])
    mask_path = bundle.index.mask_path(patch)
    assert mask_path is not None  # labelled
    image = fit(read_image(bundle.index.image_path(patch)), cv2.INTER_AREA)
    mask = fit(read_mask(mask_path, bundle.classes), cv2.INTER_NEAREST)
    share = scan.pixels[row, number] / scan.pixels[row].sum()
    title = f"{bundle.classes.names[number]}  {share:.0%}"
    return Tile([image, overlay(image, mask, bundle.classes.colors)], title, bundle.index.name(patch))


def _sound_rows(inspection: Inspection, pool: Patches) -> NDArray[np.intp]:
    rows = inspection.scan.rows(pool)
    return rows[inspection.scan.sound[rows]]


def _spread(rows: NDArray[np.intp], count: int) -> list[int]:
    """Up to `count` of the rows, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)].tolist()
