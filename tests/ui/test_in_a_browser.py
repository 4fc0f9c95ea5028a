"""The pages in a real browser, beside two searches that run meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.backends.local import execute_here
from search.ledger import Ledger
from search.run import Run
from tests.support.browser import Tab, browser_program, browsing, needs_axe
from tests.support.processes import ROOT, begun, wait_for
from tests.support.slow_searches import slow_space
from tests.support.toy_runs import SteadyMeter, as_searched, made_space, sampler_for

pytestmark = pytest.mark.slow

NAMES = "Array.from(document.querySelectorAll('#rows th a'), (link) => link.textContent)"
FRAME = "document.querySelector('iframe[data-version]')"
PAGE = f"{FRAME}.contentDocument"
# The table of trials in the page of a run, by its caption.
TRIALS = (
    f"Array.from({PAGE}.querySelectorAll('table'))"
    r".find((each) => /^\d+ trials of/.test(each.caption?.textContent))"
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a run that has ended and two that go on: alpha and beta."""
    browser_program()  # before anything is started for nothing
    folder = tmp_path_factory.mktemp("searches")
    parameters = {"score": {"min": 0.0, "max": 0.9}, "pause_s": {"min": 0.3, "max": 0.6}}
    slow_space(folder, parameters=parameters, limits={"trials": 2000}, ladder={"epochs": [1, 3]})
    words = ("--space", "./space.yaml", "--backend", "local", "--skip-preflight", "--no-report")
    searches = [begun("search", *words, "--name", name, folder=folder) for name in ("alpha", "beta")]
    space, ledger = made_space(folder), Ledger.create(folder / "results" / "done")
    as_searched(space, ledger)
    execute_here(Run(space, sampler_for(space), ledger), SteadyMeter())
    try:
        for name in ("alpha", "beta"):
            wait_for(Ledger(folder / "results" / name).journal_file.is_file)
        yield folder / "results"
    finally:
        for search in searches:
            search.kill()
        for search in searches:
            search.communicate(timeout=60)


@pytest.fixture(scope="module")
def address(results: Path) -> Iterator[str]:
    """What `jouletune ui` prints."""
    words = [sys.executable, str(ROOT / "scripts/ui.py"), str(results), "--no-browser", "--port", "0"]
    env = {**os.environ, "JOULETUNE_CACHE": str(results.parent / "cache")}
    running = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env)
    assert running.stdout
    running.stdout.readline()
    yield running.stdout.readline().strip()
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 0


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory, address: str) -> Iterator[Tab]:
    """A browser that has been at the address."""
    with browsing(tmp_path_factory.mktemp("browser")) as made:
        made.look(1440, 900)
        made.open(address)
        yield made


def opened_list(tab: Tab, address: str) -> None:
    tab.open(address.partition("?")[0])
    tab.wait(f"{NAMES}.length === 3 && document.querySelectorAll('.badge.running').length === 2")
    tab.value("window.isSameDocument = true")


def num_trials(name: str) -> str:
    return f"parseInt(document.querySelector('[data-run={name}] .trials .value').textContent)"


def test_the_list_follows_both_searches_without_a_reload(tab: Tab, address: str) -> None:
    opened_list(tab, address)
    assert tab.value("location.search") == ""  # the token is in the cookie
    before = {name: tab.value(num_trials(name)) for name in ("alpha", "beta")}
    for name, number in before.items():
        tab.wait(f"{num_trials(name)} > {number}")
    assert tab.value("window.isSameDocument")
    assert tab.value("document.getElementById('count').textContent") == "3 runs, 2 running"


def test_the_list_is_sorted_by_a_click_on_a_column(tab: Tab, address: str) -> None:
    opened_list(tab, address)
    tab.click("th[data-column=name] button")
    tab.wait(f"{NAMES}.join() === 'alpha,beta,done'")
    tab.click("th[data-column=name] button")
    tab.wait(f"{NAMES}.join() === 'done,beta,alpha'")
    assert tab.value("document.querySelector('th[data-column=name]').ariaSort") == "descending"
    tab.click("th[data-column=kwh] button")  # known of one run alone: the others are last, whichever way
    tab.wait(f"{NAMES}[0] === 'done'")
    tab.click("th[data-column=kwh] button")
    assert tab.value(f"{NAMES}[0]") == "done"


def test_the_list_is_filtered_and_stays_so_when_one_comes_back(tab: Tab, address: str) -> None:
    opened_list(tab, address)
    tab.type("#words", "space bet")
    tab.wait(f"{NAMES}.join() === 'beta'")
    tab.click("[data-run=beta] a")
    tab.wait("document.getElementById('name')?.textContent === 'beta'")
    tab.click("#back")
    tab.wait(f"document.getElementById('words')?.value === 'space bet' && {NAMES}.join() === 'beta'")
    tab.open(address.partition("?")[0] + "?state=ended")
    tab.wait(f"{NAMES}.join() === 'done'")


def test_a_run_opens_as_its_page_which_goes_on_with_the_run(tab: Tab, address: str) -> None:
    opened_list(tab, address)
    tab.click("[data-run=alpha] a")
    tab.wait(FRAME)
    tab.value("window.isSameDocument = true")
    assert tab.value(f"{PAGE}.querySelector('h1').textContent") == "alpha"
    # Before the first score there is no plot, and each is drawn when it is in view.
    box = f"{PAGE}.querySelector('[data-figure]')"
    tab.wait(
        f"{box} && ({box}.scrollIntoView({{behavior: 'instant'}}), {box}.querySelector('svg')) && {TRIALS}"
    )
    # What a reader does to the page: an order of the trials, and a place.
    buttons = f"Array.from({TRIALS}.querySelectorAll('th button'))"
    tab.value(f"{buttons}.find((each) => each.textContent === 'trial').click()")
    tab.value(f"{TRIALS}.scrollIntoView({{behavior: 'instant'}})")
    top = tab.value(f"{TRIALS}.getBoundingClientRect().top")
    before = tab.value(f"[{FRAME}.dataset.version, parseInt({TRIALS}.caption.textContent)]")
    tab.wait(f"{FRAME}.dataset.version !== '{before[0]}'")
    assert tab.value("window.isSameDocument")
    assert tab.value("document.querySelectorAll('iframe').length") == 1
    assert tab.value(f"parseInt({TRIALS}.caption.textContent)") > before[1]
    assert tab.value(f"{TRIALS}.querySelector('th[aria-sort]').textContent") == "trial"
    assert abs(tab.value(f"{TRIALS}.getBoundingClientRect().top") - top) < 300
    first = tab.value(f"{TRIALS}.tBodies[0].rows[0].cells[1].textContent")
    assert first == "trial-0000 (default)"


def test_a_pause_holds_the_page_until_it_is_ended(tab: Tab, address: str) -> None:
    opened_list(tab, address)
    tab.click("#pause")
    tab.wait("document.getElementById('connection').textContent === 'paused'")
    held = tab.value(num_trials("alpha"))
    tab.wait("fetch('/runs/alpha/report').then((answer) => answer.ok)")  # meanwhile the search goes on
    assert tab.value(num_trials("alpha")) == held
    tab.click("#pause")
    tab.wait(f"{num_trials('alpha')} > {held}")


@needs_axe
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 400])
def test_axe_finds_no_violation_of_level_a_or_aa(tab: Tab, address: str, width: int, is_dark: bool) -> None:
    """In the list, and in what is around the page of a run; that has a test of its own."""
    tab.look(width, 900, dark=is_dark)
    try:
        opened_list(tab, address)
        assert tab.violations() == []
        assert tab.value("document.documentElement.scrollWidth") == width
        tab.open(address.partition("?")[0] + "runs/done")
        tab.wait(FRAME)
        assert tab.violations() == []
        assert tab.value("document.documentElement.scrollWidth") == width
    finally:
        tab.look(1440, 900)


def test_nothing_but_the_server_is_asked_and_nothing_goes_wrong(tab: Tab, address: str) -> None:
    origin = address.partition("/?")[0]
    opened_list(tab, address)
    assert tab.problems == []
    assert {url for url in tab.requests if not url.startswith((origin, "data:"))} == set()


def test_a_browser_without_the_token_is_told_what_it_needs(tab: Tab, address: str) -> None:
    tab.call("Network.clearBrowserCookies")
    tab.open(address.partition("?")[0])
    assert tab.value("document.body.innerText").strip() == (
        "This page needs its token: open the address that `jouletune ui` printed."
    )
    tab.open(address)
    tab.wait(f"{NAMES}.length === 3")
