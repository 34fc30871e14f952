"""The page of `semiseg serve` as a reader meets it: a file dropped, the answer looked at and downloaded."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import pytest
from tests.serve.conftest import Reddish

from semiseg.prediction.options import PredictConfig

if find_spec("gradio") is None:  # looked for and not imported, which takes seconds of every test process
    pytest.skip('gradio is not installed: pip install -e ".[serve]"', allow_module_level=True)
rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
SECONDS = 60
T = TypeVar("T")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps what belongs to its requests."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def address(browser: Any, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the page, served by a thread of this process."""
    from semiseg.serve.page import build_page
    from semiseg.serve.server import Server, application, bound

    system = Reddish(tmp_path_factory.mktemp("toy"))
    with pytest.MonkeyPatch.context() as patch, bound("127.0.0.1", 0) as at:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "gradio"))
        page = build_page(system, PredictConfig(run="", out="", device="cpu"), folder)
        started = threading.Event()
        server = Server(application(page), started.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [at]})
        thread.start()
        assert started.wait(SECONDS)
        yield f"http://127.0.0.1:{at.getsockname()[1]}/"
        server.should_exit = True
        thread.join(SECONDS)


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GeoTIFF that is red on a quarter of its 8 hectares, and a file that is no image."""
    root = tmp_path_factory.mktemp("uploads")
    image = np.full((80, 100, 3), (10, 10, 200), dtype=np.uint8)
    image[:40, :50] = (220, 20, 20)
    place = {"crs": "EPSG:32749", "transform": rasterio.Affine(3.1622776, 0, 430_000, 0, -3.1622776, 9_160_000)}
    with rasterio.open(
        root / "flight.tif", "w", driver="GTiff", height=80, width=100, count=3, dtype="uint8", **place
    ) as raster:
        raster.write(np.moveaxis(image, -1, 0))
    (root / "garbage.png").write_bytes(b"nothing that is an image")
    return root


def until(found: Callable[[], T]) -> T:
    """The first true result."""
    deadline = time.monotonic() + SECONDS
    while not (result := found()):
        assert time.monotonic() < deadline, "the page did not get there"
        time.sleep(0.05)
    return result


def drop(page: Any, path: Path) -> None:
    """Hand a file to the page, in the place of one that is there."""
    for button in page.find_elements("css selector", "#drop button[aria-label='Clear']"):
        button.click()
    field = until(lambda: page.find_elements("css selector", "#drop input[type=file]"))[0]
    field.send_keys(str(path))


def text_of(page: Any, name: str) -> str:
    return "".join(each.text for each in page.find_elements("id", name))


def requested(page: Any) -> set[str]:
    """Addresses of everything that the page has loaded."""
    return set(page.execute_script("return performance.getEntriesByType('resource').map((each) => each.name)"))


def test_a_dropped_raster_is_answered_and_garbage_is_refused_in_one_sentence(
    browser: Any, address: str, folder: Path, uploads: Path, console: Callable[[], list[str]]
) -> None:
    browser.get(address)
    until(lambda: "0.654" in text_of(browser, "about"))
    assert "red <b>roof</b>" in text_of(browser, "about") and browser.title == "semiseg"

    drop(browser, uploads / "flight.tif")
    shares = until(lambda: text_of(browser, "shares"))
    assert "green & blue 75.0% 6.00" in shares and "red <b>roof</b> 25.0% 2.00" in shares and "Hectares" in shares
    overlay = until(lambda: browser.find_elements("css selector", "#overlay img"))[0]
    until(lambda: browser.execute_script("return arguments[0].naturalWidth", overlay) == 100)
    links = until(lambda: browser.find_elements("css selector", "#downloads a"))
    files = {each.get_attribute("href").rpartition("/")[2]: each.get_attribute("href") for each in links}
    assert {"flight-areas.csv", "flight-classes.tif", "flight-overlay.png", "flight-polygons.geojson"} <= files.keys()
    with urllib.request.urlopen(files["flight-polygons.geojson"], timeout=SECONDS) as answer:
        assert json.load(answer)["features"]
    with urllib.request.urlopen(files["flight-overlay.png"], timeout=SECONDS) as answer:
        assert cv2.imdecode(np.frombuffer(answer.read(), np.uint8), cv2.IMREAD_COLOR).shape == (80, 100, 3)
    until(lambda: [each.name for each in folder.iterdir()] == ["gradio"])  # what belonged to the request is gone

    drop(browser, uploads / "garbage.png")
    problem = until(lambda: text_of(browser, "problem"))
    assert problem == "garbage.png is no image: give a GeoTIFF, PNG, JPEG, BMP or WebP."
    assert not text_of(browser, "shares") and not text_of(browser, "downloads")

    assert all(each.startswith((address, "data:", "blob:")) for each in requested(browser))
    browser.get("about:blank")
    assert [line for line in console() if "Method not implemented" not in line] == []  # of Gradio's own scripts
