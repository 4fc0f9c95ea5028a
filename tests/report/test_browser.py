"""The page in a real browser: nothing is asked for, nothing fails, rows open, and axe-core finds nothing.

Chromium is asked on the command line, so no driver is needed: a script that is added to the page writes what
it found into the document, which is printed. Without Chromium these tests are skipped. axe-core is used where
`make test-browser` installed it.
"""

from __future__ import annotations

import html
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from search.report.page import write_comparison, write_page
from tests.support.report_pages import Page, promoted, toy_run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = importlib.util.find_spec("axe_core_python")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome on the PATH"),
]
# The policy of a page lets no other script run; the one that looks at it is added to a copy without it.
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = toy_run(tmp_path_factory.mktemp("browser"))
    training = promoted(run).ledger.trial_folder("trial-0000")
    (training / "confusion.csv").write_text("label,a,b\na,4,1\nb,0,5\n")
    (training / "confusion_normalised.csv").write_text("label,a,b\na,0.8,0.2\nb,0.0,1.0\n")
    return write_page(run.ledger.folder, should_draw=False).path.read_text()


def printed(path: Path, *, at: str = "", width: int = 1280, is_dark: bool = False) -> str:
    """The document of a page when its scripts are done."""
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--dump-dom",
        "--virtual-time-budget=20000", f"--window-size={width},900",
        f"--user-data-dir={path.parent / 'profile'}",
        *(["--blink-settings=preferredColorScheme=0"] if is_dark else []),
        f"file://{path}{at}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return done.stdout


def found(text: str, tmp_path: Path, script: str, **how: Any) -> Any:
    """What a script in the page returns; it may wait."""
    path = tmp_path / "page.html"
    ending = (
        "<script>window.addEventListener('load', async () => {"
        "const out = document.createElement('pre'); out.id = 'found';"
        f"try {{ out.textContent = JSON.stringify(await (async () => {{ {script} }})()); }}"
        "catch (error) { out.textContent = JSON.stringify(String(error)); }"
        "document.body.append(out); });</script></body>"
    )
    path.write_text(POLICY.sub("", text).replace("</body>", ending))
    document = printed(path, **how)
    match = re.search(r'<pre id="found">(.*?)</pre>', document, re.DOTALL)
    assert match, document[-2000:]
    return json.loads(html.unescape(match[1]))


LOOK = """
const drawn = () => document.querySelectorAll('.plot svg.main-svg').length > 0;
document.querySelectorAll('[data-figure]').forEach((box) => box.scrollIntoView());
for (let waits = 0; !drawn() && waits < 150; waits += 1) await new Promise((done) => setTimeout(done, 100));
const table = document.querySelector('[data-trial-place]');
const dialog = document.getElementById('trial');
const named = () => Array.from(table.tBodies[0].rows, (row) => row.querySelector('button').dataset.trial);
const seen = {
  plots: drawn(),
  beyond_the_side: document.documentElement.scrollWidth > innerWidth,
  asked_for: performance.getEntriesByType('resource').map((each) => each.name)
    .filter((name) => !/^(data|blob):/.test(name)),
};
table.querySelectorAll('thead button')[1].click();
seen.sorted = named().slice(0, 3);
table.tBodies[0].rows[1].cells[2].click();
seen.opened = [dialog.open, dialog.querySelector('h2').textContent, location.hash];
seen.curve = dialog.querySelectorAll('svg.main-svg').length > 0;
dialog.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }));
seen.next = dialog.querySelector('h2').textContent;
dialog.querySelector('[data-close]').click();
await new Promise((done) => setTimeout(done, 500));
seen.closed = [dialog.open, location.hash];
return seen;
"""
AXE_ABOUT = """
const about = async () => (await axe.run(document, { runOnly: LEVELS })).violations
  .map((each) => [each.id, each.nodes.length, each.nodes[0].html]);
await new Promise((done) => setTimeout(done, 1000));
const page = await about();
"""
AXE_OF_DIALOG = """
document.querySelector('button[data-trial]').click();
await new Promise((done) => setTimeout(done, 1000));
return {
  is_dark: matchMedia('(prefers-color-scheme: dark)').matches,
  page, dialog: await about(), is_open: document.getElementById('trial').open,
};
"""


def test_a_page_draws_sorts_and_opens_trials_and_asks_for_nothing(text: str, tmp_path: Path) -> None:
    ranked = [each["data-trial"] for each in Page(text).of("button") if "data-trial" in each]
    assert found(text, tmp_path, LOOK, width=500) == {
        "plots": True,
        "beyond_the_side": False,
        "asked_for": [],
        "sorted": ["trial-0000", "trial-0001", "trial-0002"],
        "opened": [True, "trial-0001", "#trial-0001"],
        "curve": True,
        "next": ranked[ranked.index("trial-0001") + 1],
        "closed": [False, ""],
    }


def test_a_page_runs_under_its_own_policy_and_opens_the_trial_of_its_address(
    text: str, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    path.write_text(text)
    document = printed(path, at="#trial-0003")
    assert re.search(r"<dialog[^>]* open", document)
    assert '<h2 id="trial-name">trial-0003</h2>' in document
    assert 'class="main-svg"' in document


@pytest.mark.skipif(AXE is None, reason="axe-core is not there: make test-browser installs it")
@pytest.mark.parametrize("is_dark", [False, True])
def test_axe_finds_no_violation_of_level_a_or_aa(text: str, tmp_path: Path, is_dark: bool) -> None:
    assert found_by_axe(text, tmp_path, AXE_OF_DIALOG, is_dark=is_dark) == {
        "is_dark": is_dark,
        "page": [],
        "dialog": [],
        "is_open": True,
    }


@pytest.mark.skipif(AXE is None, reason="axe-core is not there: make test-browser installs it")
@pytest.mark.parametrize("is_dark", [False, True])
def test_axe_finds_none_in_a_comparison(tmp_path: Path, is_dark: bool) -> None:
    (one, other) = (toy_run(tmp_path / name).ledger.folder for name in ("one", "other"))
    page = tmp_path / "compare.html"
    write_comparison(one, other, page)
    assert found_by_axe(page.read_text(), tmp_path, "return page;", is_dark=is_dark) == []


def found_by_axe(text: str, tmp_path: Path, script: str, *, is_dark: bool) -> Any:
    """What a script returns that knows `about()`, and `page`, which is what axe finds at first."""
    assert AXE is not None
    (folder,) = AXE.submodule_search_locations or ()
    axe = (Path(folder) / "axe.min.js").read_text(encoding="utf-8")
    with_axe = text.replace("</body>", f"<script>{axe}</script></body>")
    about = AXE_ABOUT.replace("LEVELS", json.dumps(LEVELS))
    return found(with_axe, tmp_path, about + script, is_dark=is_dark)
