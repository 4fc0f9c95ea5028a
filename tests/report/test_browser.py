"""The page in a real browser: nothing is asked for, nothing fails, rows open, and axe-core finds nothing.

Without Chromium or Chrome these tests are skipped. axe-core is used where `make test-browser` installed it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from search.report.page import write_comparison, write_page
from tests.support.browser import Tab, browsing, needs_axe
from tests.support.report_pages import Page, promoted, toy_run

pytestmark = pytest.mark.slow
TABLE = "document.querySelector('[data-trial-place]')"
DIALOG = "document.getElementById('trial')"
DRAWN = "document.querySelectorAll('.plot svg.main-svg').length > 0"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = toy_run(tmp_path_factory.mktemp("browser"))
    training = promoted(run).ledger.trial_folder("trial-0000")
    (training / "confusion.csv").write_text("label,a,b\na,4,1\nb,0,5\n")
    (training / "confusion_normalised.csv").write_text("label,a,b\na,0.8,0.2\nb,0.0,1.0\n")
    return write_page(run.ledger.folder, should_draw=False).path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browsing(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


def test_a_page_draws_sorts_and_opens_trials_and_asks_for_nothing(browser: Tab, page: Path) -> None:
    ranked = [each["data-trial"] for each in Page(page.read_text()).of("button") if "data-trial" in each]
    browser.look(500, 900)
    browser.requests.clear()
    browser.open(f"file://{page}")
    browser.value("document.querySelector('[data-figure]').scrollIntoView({behavior: 'instant'})")
    browser.wait(DRAWN)
    assert browser.value("document.documentElement.scrollWidth") == 500

    browser.value(f"{TABLE}.querySelectorAll('thead button')[1].click()")
    names = f"Array.from({TABLE}.tBodies[0].rows, (row) => row.querySelector('button').dataset.trial)"
    assert browser.value(f"{names}.slice(0, 3)") == ["trial-0000", "trial-0001", "trial-0002"]

    browser.value(f"{TABLE}.tBodies[0].rows[1].cells[2].click()")
    assert opened(browser) == [True, "trial-0001", "#trial-0001"]
    browser.wait(f"{DIALOG}.querySelector('svg.main-svg')")
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
    after = ranked[ranked.index("trial-0001") + 1]
    assert opened(browser) == [True, after, f"#{after}"]
    browser.click("#trial [data-close]")
    browser.wait("location.hash === ''")
    assert not browser.value(f"{DIALOG}.open")

    assert browser.problems == []
    asked_for = [url for url in browser.requests if not url.startswith(("data:", "blob:"))]
    assert asked_for == [f"file://{page}"]


def test_a_page_opens_the_trial_of_its_address(browser: Tab, page: Path) -> None:
    browser.open(f"file://{page}#trial-0003")
    assert opened(browser) == [True, "trial-0003", "#trial-0003"]
    browser.wait(f"{DIALOG}.querySelector('svg.main-svg')")


@needs_axe
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_violation_of_level_a_or_aa(browser: Tab, page: Path, is_dark: bool) -> None:
    browser.look(1280, 900, dark=is_dark)
    browser.open(f"file://{page}")
    assert browser.value("matchMedia('(prefers-color-scheme: dark)').matches") == is_dark
    browser.value("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    browser.wait(DRAWN)
    assert browser.violations() == []
    browser.value("document.querySelector('button[data-trial]').click()")
    browser.wait(f"{DIALOG}.open && {DIALOG}.querySelector('svg.main-svg')")
    assert browser.violations() == []


@needs_axe
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_axe_finds_none_in_a_comparison(browser: Tab, tmp_path: Path, is_dark: bool) -> None:
    (one, other) = (toy_run(tmp_path / name).ledger.folder for name in ("one", "other"))
    page = tmp_path / "compare.html"
    write_comparison(one, other, page)
    browser.look(1280, 900, dark=is_dark)
    browser.open(f"file://{page}")
    assert browser.violations() == []


def opened(browser: Tab) -> list[object]:
    """Whether the dialog of a trial is open, whose it is, and the address."""
    found: list[object] = browser.value(
        f"[{DIALOG}.open, {DIALOG}.querySelector('h2').textContent, location.hash]"
    )
    return found
