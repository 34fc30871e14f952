"""rasterio, where it is needed, and where on Earth a raster lies."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from semiseg.errors import ConfigError


@cache
def geo() -> ModuleType:
    """rasterio with its parts. Raises ConfigError with the command that installs it."""
    try:
        import rasterio
        import rasterio.errors
        import rasterio.features
        import rasterio.transform
        import rasterio.warp
        import rasterio.windows
    except ImportError as error:
        raise ConfigError('GeoTIFF, rasters and polygons need rasterio: pip install -e ".[geo]"') from error
    # A picture without a place on Earth is an ordinary input here.
    warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
    return rasterio


def gdal_errors() -> tuple[type[Exception], ...]:
    """What comes of GDAL through rasterio, which has an error of its own for some of it only."""
    from rasterio._err import CPLE_BaseError  # named nowhere else

    return geo().errors.RasterioError, CPLE_BaseError, SystemError, TypeError


@dataclass(frozen=True)
class Place:
    """Where a raster lies: rasterio's CRS (None without one), affine transform and ground control points.

    With control points the transform is the one that fits them best: areas and polygons are as true as it is.
    """

    crs: Any
    transform: Any
    gcps: Any = ()

    @property
    def profile(self) -> dict[str, Any]:
        """Keywords of rasterio.open for a raster in the same place."""
        if self.gcps:
            return {"gcps": list(self.gcps), "crs": self.crs}
        return {"transform": self.transform, "crs": self.crs}

    def point(self, column: float, row: float) -> tuple[float, float]:
        """Coordinates of a corner of a pixel."""
        a, b, c, d, e, f = tuple(self.transform)[:6]
        return a * column + b * row + c, d * column + e * row + f

    def window_transform(self, left: int, top: int) -> Any:
        """The transform of a window that begins at a pixel."""
        a, b, _, d, e, _ = tuple(self.transform)[:6]
        x, y = self.point(left, top)
        return geo().Affine(a, b, x, d, e, y)
