"""A headless Chromium, driven through WebDriver. Tests that need it are skipped where it is absent."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--window-size=1400,1000",
)  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The browser, with an empty profile; its console is kept."""
    webdriver = pytest.importorskip("selenium.webdriver", reason='no selenium: pip install -e ".[test]"')
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no Chromium with its chromedriver on the PATH: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chromium = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    chromium.set_page_load_timeout(60)
    yield chromium
    chromium.quit()


@pytest.fixture
def console(browser: Any) -> Callable[[], list[str]]:
    """The errors and warnings in the console since the test began."""
    browser.get_log("browser")
    return lambda: [entry["message"] for entry in browser.get_log("browser")]


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """`make_run(folder, model=.., seed=.., ...)` of benchmarks/run_folders.py: writes a run folder."""
    spec = importlib.util.spec_from_file_location(
        "run_folders", Path(__file__).parents[2] / "benchmarks" / "run_folders.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_run
