"""The figures of an inspection, counted once for the report and for inspect.json."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.data.build import DataBundle
from semiseg.data.frequency import balanced_weights
from semiseg.data.split import Patches
from semiseg.engine.settings import SMALLEST_CROP
from semiseg.inspection.scan import Scan


@dataclass(frozen=True)
class Frequency:
    """How often the classes, and last the ignored pixels, occur in the masks of a pool; each array is [C + 1]."""

    pixels: NDArray[np.int64]
    patches: NDArray[np.int64]  # that contain at least one such pixel

    @property
    def share(self) -> NDArray[np.float64]:
        """Of the pixels that are not ignored; the share of the ignored is of all pixels."""
        labeled, everything = self.pixels[:-1].sum(), self.pixels.sum()
        return np.append(self.pixels[:-1] / max(labeled, 1), self.pixels[-1] / max(everything, 1))


class Inspection:
    """A data set, what its files show, and what follows from both."""

    def __init__(self, bundle: DataBundle, scan: Scan, crop_size: int, fills_up: bool = False) -> None:
        self.bundle, self.scan, self.crop_size = bundle, scan, crop_size
        self.fills_up = fills_up  # the augmentation takes smaller patches too
        self.train = self._frequency(bundle.pools.train)
        self.val = self._frequency(bundle.pools.val)

    def _frequency(self, pool: Patches) -> Frequency:
        pixels = self.scan.pixels[self.scan.rows(pool)]
        return Frequency(pixels.sum(axis=0), (pixels > 0).sum(axis=0))

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """The class weights of `loss.class_weights=balanced`, [C]; zeros where no mask can be counted."""
        counts = self.train.pixels[:-1]
        return balanced_weights(counts) if counts.any() else np.zeros(len(counts), dtype=np.float32)

    @cached_property
    def pools(self) -> dict[str, tuple[int, int]]:
        """Name -> number of patches and of sources."""
        index, pools = self.bundle.index, self.bundle.pools
        used = np.concatenate([pools.train, pools.val, pools.unlabeled])
        groups = {
            "images": np.arange(len(index)),
            "masks": np.flatnonzero(index.has_mask),
            "labelled": np.concatenate([pools.train, pools.val]),
            "train": pools.train,
            "val": pools.val,
            "unlabelled": pools.unlabeled,
            "unlabelled with a hidden mask": pools.unlabeled[index.has_mask[pools.unlabeled]],
            "not used": np.setdiff1d(np.arange(len(index)), used),
        }
        return {name: (len(group), len(np.unique(index.source_id[group]))) for name, group in groups.items()}

    @cached_property
    def shared_sources(self) -> list[str]:
        """Base images with patches both in validation and in what is trained on."""
        index, pools = self.bundle.index, self.bundle.pools
        learned = index.source_id[np.concatenate([pools.train, pools.unlabeled])]
        return [index.sources[number] for number in np.intersect1d(learned, index.source_id[pools.val])]

    @cached_property
    def looked_at(self) -> dict[str, int]:
        """Labelled pairs and unlabelled images that were decoded."""
        pools = self.bundle.pools
        unlabeled = len(self.scan.rows(pools.unlabeled))
        return {"labelled": len(self.scan.patches) - unlabeled, "unlabelled": unlabeled}

    @cached_property
    def sizes(self) -> list[tuple[int, int, int]]:
        """(width, height, images), the most frequent first."""
        found = Counter((width, height) for width, height in self.scan.size.tolist() if width)
        return [(width, height, count) for (width, height), count in found.most_common()]

    @cached_property
    def smaller_than_crop(self) -> int:
        """Images from which no crop of `trainer.crop_size` can be cut, where none is filled up."""
        least = 0 if self.fills_up else self.crop_size
        return sum(count for width, height, count in self.sizes if min(width, height) < least)

    @cached_property
    def warnings(self) -> list[str]:
        """What can be trained on, but should be known first."""
        names = self.bundle.classes.names
        found = list(self.bundle.pools.warnings)
        for pool, frequency in (("training", self.train), ("validation", self.val)):
            absent = [name for name, pixels in zip(names, frequency.pixels[:-1], strict=True) if not pixels]
            if absent:
                found.append(f"no {pool} mask shows {', '.join(absent)}")
        if self.smaller_than_crop:
            smallest = min(min(width, height) for width, height, _ in self.sizes)
            smaller = f", or use trainer.crop_size={smallest}" if smallest >= SMALLEST_CROP else ""
            found.append(
                f"{self.smaller_than_crop:,} of {sum(count for *_, count in self.sizes):,} images are smaller than "
                f"trainer.crop_size={self.crop_size}: fill them up with aug.pad=true{smaller}"
            )
        return found

    def figures(self) -> dict[str, Any]:
        """Everything, for inspect.json."""
        return {
            "root": self.bundle.index.root,
            "fingerprint": self.bundle.fingerprint(),
            "pools": {name: {"patches": p, "sources": s} for name, (p, s) in self.pools.items()},
            "looked_at": self.looked_at,
            "classes": [self._class_figures(number) for number in range(self.bundle.classes.num_classes)],
            "ignored": {
                "train_pixels": self.train.pixels[-1],
                "train_share": self.train.share[-1],
                "val_pixels": self.val.pixels[-1],
                "val_share": self.val.share[-1],
            },
            "sizes": [{"width": width, "height": height, "images": count} for width, height, count in self.sizes],
            "crop_size": self.crop_size,
            "smaller_than_crop": self.smaller_than_crop,
            "sources_on_both_sides": self.shared_sources,
            "warnings": self.warnings,
            "problems": [vars(problem) for problem in self.scan.problems],
        }

    def _class_figures(self, number: int) -> dict[str, Any]:
        classes = self.bundle.classes
        return {
            "id": number,
            "name": classes.names[number],
            "color": classes.colors[number],
            "train_pixels": self.train.pixels[number],
            "train_share": self.train.share[number],
            "train_patches": self.train.patches[number],
            "balanced_weight": self.weights[number],
            "val_pixels": self.val.pixels[number],
            "val_share": self.val.share[number],
            "val_patches": self.val.patches[number],
        }
