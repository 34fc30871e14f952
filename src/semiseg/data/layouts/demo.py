"""The embedded default: drone scenes of a salak plantation, drawn on first use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semiseg.data.demo.write import DemoSet, ensure
from semiseg.data.index import PatchIndex
from semiseg.data.layouts.salak import SalakLayout


class DemoLayout(SalakLayout):
    """The salak layout over scenes that are drawn into the root before they are listed.

    Every patch has a mask; `labeled.txt` and `val.txt` in the root name the sources whose masks training and
    validation may see, so that pseudo labels on the rest can be audited. Raises ConfigError for numbers of flights or
    sizes that cannot be drawn.
    """

    def __init__(
        self,
        flights: int = 20,
        labeled_flights: int = 5,
        val_flights: int = 4,
        scene_size: Sequence[int] = (512, 768),
        patch_size: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(folders="demo-*")
        rows, columns = scene_size
        self.demo = DemoSet(flights, labeled_flights, val_flights, (rows, columns), patch_size, seed)

    def prepare(self, root: Path) -> None:
        """Draw the scenes unless `root` holds them already. Raises DataError when it holds other files."""
        ensure(root, self.demo)

    def scan(self, root: Path) -> PatchIndex:
        """List every patch, drawing them first where needed."""
        self.prepare(root)
        return super().scan(root)
