"""report.html as a reader meets it: opened from disk, sorted, two recipes held side by side."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HOSTILE = "<img src=x onerror=document.title='run'>"


@pytest.fixture(scope="module")
def report(browser: Any, make_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a report on three recipes, made by the command line."""
    root = tmp_path_factory.mktemp("report")
    for model, miou in (("v1", 0.35), ("v3", 0.6), (HOSTILE, 0.45)):
        for seed in range(2):
            make_run(root / "runs" / f"{len(model)}-{miou}-{seed}", model=model, seed=seed, miou=miou)
    command = [sys.executable, "-m", "semiseg", "compare", f"runs={(root / 'runs').as_posix()}", "tracking=none"]
    done = subprocess.run([*command, f"out={(root / 'out').as_posix()}"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return (root / "out" / "report.html").as_uri()


@pytest.fixture
def page(browser: Any, report: str, console: Callable[[], list[str]]) -> Any:
    """The report, freshly opened; nothing may be in the console when a test is over."""
    wait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait(browser, 30)
    browser.get("about:blank")  # so that the page of the test before cannot be taken for this one
    browser.get(report)
    ready = 'return document.readyState === "complete" && document.querySelector("button.sort") !== null'
    wait.until(lambda driver: driver.execute_script(ready))
    yield browser
    assert console() == []


def table(page: Any, title: str) -> Any:
    """The first table whose caption begins with `title`."""
    tables = page.find_elements("css selector", "main table")
    return next(each for each in tables if each.get_attribute("data-title").startswith(title))


def column(table: Any, heading: str) -> list[str]:
    heads = [cell.text.strip() for cell in table.find_elements("css selector", "thead th")]
    at = next(number for number, text in enumerate(heads) if text == heading)
    rows = table.find_elements("css selector", "tbody tr")
    return [row.find_elements("css selector", "th, td")[at].text for row in rows]


def head(table: Any, heading: str) -> Any:
    return next(c for c in table.find_elements("css selector", "thead th") if c.text.strip() == heading)


def scores(texts: list[str]) -> list[float]:
    return [float(text.split()[0]) for text in texts]


def test_it_opens_with_contents_tables_and_figures(page):
    assert page.title == "Comparison of runs"  # and no run has changed it
    links = [a.get_attribute("href").partition("#")[2] for a in page.find_elements("css selector", "nav a")]
    assert len(links) > 10
    assert all(page.find_elements("id", link) for link in links)
    figures = page.find_elements("css selector", "figure svg, figure img")
    assert len(figures) > 10 and all(figure.size["width"] > 200 for figure in figures)
    assert page.find_elements("css selector", "main img[src='x']") == []
    assert HOSTILE in page.find_element("tag name", "main").text


def test_a_click_on_a_heading_sorts_by_number_and_a_second_one_turns_the_order(page):
    found = table(page, "Scores")
    head(found, "peak val mIoU").find_element("tag name", "button").click()
    assert head(found, "peak val mIoU").get_attribute("aria-sort") == "ascending"
    ascending = scores(column(found, "peak val mIoU"))
    assert ascending == sorted(ascending) and len(set(ascending)) == 3
    head(found, "peak val mIoU").find_element("tag name", "button").click()
    assert head(found, "peak val mIoU").get_attribute("aria-sort") == "descending"
    assert scores(column(found, "peak val mIoU")) == ascending[::-1]
    head(found, "recipe").find_element("tag name", "button").click()
    assert column(found, "recipe")[-2:] == ["v1", "v3"]
    assert head(found, "peak val mIoU").get_attribute("aria-sort") is None


def test_empty_cells_stay_last_in_both_orders(page):
    found = table(page, "Scores")
    for _ in range(2):
        head(found, "difference").find_element("tag name", "button").click()
        assert column(found, "difference")[-1] == "" and column(found, "recipe")[-1] == "v1"


@pytest.mark.parametrize("texts, ascending", [
    (["1,234", "99", "12.5"], ["12.5", "99", "1,234"]),
    (["0.9 ± 0.2", "0.10 ± 0.01", "-0.5"], ["-0.5", "0.10 ± 0.01", "0.9 ± 0.2"]),
    (["1:00:00", "0:59:59", "12:00:00"], ["0:59:59", "1:00:00", "12:00:00"]),
    (["12.0%", "", "9.5%", "absent"], ["9.5%", "12.0%", "absent", ""]),
    (["[+0.01, +0.02]", "[-0.03, +0.05]"], ["[-0.03, +0.05]", "[+0.01, +0.02]"]),
    (["1e-3", "2e-4", "0.01"], ["2e-4", "1e-3", "0.01"]),
    (["run10", "run9", "Run1"], ["Run1", "run9", "run10"]),
])  # fmt: skip
def test_cells_are_ordered_by_what_they_mean(page, texts, ascending):
    script = """
    const table = document.querySelector("main table"), body = table.tBodies[0];
    body.replaceChildren(...arguments[0].map((text) => {
      const row = document.createElement("tr");
      row.append(...[...table.tHead.rows[0].cells].map(() => document.createElement("td")));
      row.lastChild.textContent = text;
      return row;
    }));
    table.tHead.rows[0].lastElementChild.querySelector("button").click();
    return [...body.rows].map((row) => row.lastChild.textContent);
    """
    assert page.execute_script(script, texts) == ascending


def test_sorting_and_ticking_work_from_the_keyboard(page):
    found = table(page, "Scores")
    head(found, "final val mIoU").find_element("tag name", "button").send_keys("\ue007")  # enter
    assert head(found, "final val mIoU").get_attribute("aria-sort") == "ascending"
    boxes = found.find_elements("css selector", "td.pick input")
    for box in boxes[:2]:
        box.send_keys(" ")
    assert page.find_element("id", "versus").is_displayed()
    boxes[0].send_keys("\ue00c")  # escape
    assert not page.find_element("id", "versus").is_displayed()
    assert not any(box.is_selected() for box in boxes)


def tick(page: Any, *names: str) -> Any:
    """Tick rows of the scores by their names; the panel."""
    rows = {
        row.get_attribute("data-name"): row for row in table(page, "Scores").find_elements("css selector", "tbody tr")
    }
    for name in names:
        rows[name].find_element("css selector", "input").click()
    return page.find_element("id", "versus")


def lines(panel: Any) -> dict[str, list[str]]:
    """What is compared -> first, second, difference; the first table that says it counts."""
    found: dict[str, list[str]] = {}
    for row in panel.find_elements("css selector", "tbody tr"):
        cells = [cell.text for cell in row.find_elements("css selector", "th, td")]
        if len(cells) == 4:
            found.setdefault(cells[0], cells[1:])
    return found


def test_two_ticked_rows_are_held_side_by_side_with_their_differences(page):
    panel = tick(page, "v1")
    assert not panel.is_displayed()
    tick(page, "v3")
    assert panel.is_displayed()
    shown = lines(panel)
    first, second, apart = shown["peak val mIoU"]
    own = dict(
        zip(column(table(page, "Scores"), "recipe"), column(table(page, "Scores"), "peak val mIoU"), strict=True)
    )
    assert (first, second) == (own["v1"], own["v3"])
    assert float(apart) == pytest.approx(float(second.split()[0]) - float(first.split()[0]), abs=1e-9)
    assert shown["Parameters"] == ["44,048,532", "26,682,725", "−17,365,807"]  # of the table with a column a system
    assert shown["verdict"][2] == "differs" and shown["Steps"][2] == "same"
    panel.find_element("id", "only").click()
    visible = [row for row in panel.find_elements("css selector", "tbody tr") if row.is_displayed()]
    assert visible and not any(row.text.endswith("same") for row in visible)
    panel.find_element("id", "close").click()
    assert not panel.is_displayed()


def test_a_third_row_takes_the_place_of_the_first(page):
    panel = tick(page, "v1", "v3", HOSTILE)
    heads = [cell.text for cell in panel.find_elements("css selector", "thead th")]
    assert heads[1:3] == ["v3", HOSTILE]
    assert page.title == "Comparison of runs"
    chosen = table(page, "Scores").find_elements("css selector", "tr.chosen")
    assert {row.get_attribute("data-name") for row in chosen} == {"v3", HOSTILE}


def brightness(color: str) -> float:
    """Mean of the channels of `rgb(1, 2, 3)` or `rgba(1, 2, 3, 1)`."""
    return sum(map(int, color.partition("(")[2].rstrip(")").split(",")[:3])) / 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_and_its_figures_follow_the_theme_of_the_reader(page, scheme):
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    paper = brightness(page.find_element("tag name", "body").value_of_css_property("background-color"))
    ink = brightness(page.find_element("css selector", "figure svg text").value_of_css_property("fill"))
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert (paper > 200 and ink < 60) if scheme == "light" else (paper < 60 and ink > 200)


def test_it_fits_a_narrow_window_and_prints(page):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 420, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    overflow = page.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert overflow <= 0
    printed = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    assert len(printed) > 10_000
