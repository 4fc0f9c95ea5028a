"""The page of a run: self-contained, trusting nothing outside, and accessible to all readers."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.ledger import Ledger
from search.report.page import render, write_page
from search.report.page.elements import Section
from search.report.page.render import json_for_script, rendered
from search.run import Run
from search.space import dump_space
from tests.support.report_pages import Page, fateful_run, page_of, toy_run
from tests.support.sealed_journals import reseal
from tests.support.toy_runs import made_space, sampler_for

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"' onload='alert(3)' <!--"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return toy_run(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def page(run: Run) -> Page:
    return page_of(run)


def test_every_trial_and_every_section_stands_in_the_page(run: Run, page: Page) -> None:
    assert all(trial_id in page.text for trial_id in run.history.trials)
    assert [attributes["id"] for attributes in page.of("section")] == [
        *("summary", "next", "winner", "history", "parameters", "trials", "energy", "rank_correlation"),
        *("failures", "data", "space", "environment", "commands"),
    ]


def test_nothing_is_loaded_and_nothing_leads_away(page: Page) -> None:
    loads = [attributes.get(name) for _, attributes in page.tags for name in ("src", "href", "action")]
    assert {load.split(":")[0][0] for load in loads if load} <= {"#", "d"}  # an anchor here, or data
    assert not page.of("iframe") + page.of("object")
    for ours in page.scripts[-3:]:
        assert not re.search(r"https?:|fetch\(|XMLHttpRequest|import\(", ours)


def test_the_policy_forbids_all_loads_and_all_scripts_but_its_own(page: Page) -> None:
    (policy,) = [a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    kinds = [attributes.get("type") for attributes in page.of("script")]
    run_scripts = [s for s, kind in zip(page.scripts, kinds, strict=True) if kind is None]
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in run_scripts]
    assert policy == (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src "
        + " ".join(f"'sha256-{each}'" for each in hashes)
    )
    assert len(hashes) == 4
    assert "Plotly" in run_scripts[0]


def test_plotly_stands_in_the_page_once(page: Page) -> None:
    assert sum(len(script) > 1_000_000 for script in page.scripts) == 1


def test_plotly_is_the_file_that_its_readme_names() -> None:
    folder = Path(render.__file__).parent / "plotly"
    source = (folder / "plotly-cartesian.min.js").read_bytes()
    stated = (folder / "README.md").read_text()
    assert hashlib.sha256(source).hexdigest() in stated
    version = re.search(rb"plotly\.js \(cartesian - minified\) v([\d.]+)", source[:200])
    assert version
    assert stated.startswith(f"# plotly.js {version[1].decode()}, ")
    assert "MIT License" in (folder / "LICENSE").read_text()


def test_a_page_is_small_enough_to_be_sent_around(run: Run) -> None:
    assert len(write_page(run.ledger.folder, should_draw=False).path.read_bytes()) < 1_700_000


def test_a_page_without_plots_does_not_carry_plotly(tmp_path: Path) -> None:
    empty = fateful_run(tmp_path, {"fate": "raise"})
    assert len(write_page(empty.ledger.folder, should_draw=False).path.read_bytes()) < 50_000


def test_nothing_that_a_run_says_becomes_a_tag(tmp_path: Path) -> None:
    points = [{"fate": "fine", "score": score} for score in (0.1, 0.7)]
    hostile = fateful_run(tmp_path, *points, {"fate": "raise"})
    said = {
        '"fine"': f"value {HOSTILE}",
        '"val_accuracy"': f"metric {HOSTILE}",
        '"precision"': f"no effect of {HOSTILE}",
        '"fp32, as asked"': f"note {HOSTILE}",
        json.dumps("KeyError: 'a mistake in the training code'"): f"message {HOSTILE}",
    }
    reseal(hostile.ledger.journal_file, *((old, json.dumps(text)) for old, text in said.items()))
    space_file = hostile.ledger.space_file
    space_file.write_text(space_file.read_text().replace("val_accuracy", json.dumps(f"metric {HOSTILE}")))
    log = hostile.ledger.trial("trial-0000").log
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"log {HOSTILE}")
    hostile.ledger.write_json("environment.json", {"hostname": f"host {HOSTILE}"})
    folder = hostile.ledger.folder.rename(tmp_path / """a"'><img src=x onerror=alert(3)><script>""")
    page = Page(write_page(folder, should_draw=False).path.read_text())
    assert all(text in page.text for text in (*said.values(), f"host {HOSTILE}", folder.name))
    assert not page.of("img")
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    data = [json.loads(text) for text in page.scripts[:-4]]
    assert len(page.of("script")) == len(data) + 4  # JSON, and the page's own
    (details,) = [each for each in data if "promoted" in each]
    assert details["trials"]["trial-0000"][5] == f"log {HOSTILE}"
    assert not any("<" in text for text in page.scripts[:-4])
    plotted = [text for each in data if "layout" in each for text in texts_of(each)]
    assert any("&lt;/script&gt;" in text for text in plotted)
    assert not any("<" in text for text in plotted)  # Plotly takes text for a kind of HTML


def texts_of(content: object) -> Iterator[str]:
    """Every text in a figure."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for each in content.values() if isinstance(content, dict) else content:
            yield from texts_of(each)


def test_json_in_a_script_cannot_end_it() -> None:
    assert str(json_for_script({"name": "</script>&"})) == '{"name":"\\u003c/script\\u003e\\u0026"}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_for_script([float("nan")])


def test_columns_sort_by_keyboard_too_and_numbers_as_numbers(page: Page) -> None:
    table = page.of("table")[0]
    assert table["class"] == "sortable"
    assert {attributes["type"] for attributes in page.of("button")} == {"button"}
    script = page.scripts[-3]
    assert 'setAttribute("aria-sort"' in script
    assert 'addEventListener("click"' in script
    orders = [a["data-order"] for a in page.of("td") if a.get("class") == "number"]
    assert len([float(order) for order in orders if order]) == len(orders)


def test_commands_to_repeat_are_whole_and_no_links(run: Run, page: Page) -> None:
    folder = run.ledger.folder
    assert f"python scripts/promote.py {folder} --top 3" in page.text
    assert f"python scripts/search.py --space {folder}/space.yaml --name run-again" in page.text
    assert f"python scripts/search.py --rerun-failed {folder}" in page.text
    assert all((attributes["href"] or "").startswith("#") for attributes in page.of("a"))


def test_a_run_that_continues_says_so_and_its_page_loads_itself_again(tmp_path: Path) -> None:
    space = made_space(tmp_path)
    running = Run(space, sampler_for(space), Ledger.create(tmp_path / "run"))
    dump_space(space, running.ledger.space_file)
    written = write_page(running.ledger.folder, refresh_s=5, should_draw=False)
    assert not written.is_over
    page = Page(written.path.read_text())
    assert [a["content"] for a in page.of("meta") if a.get("http-equiv") == "refresh"] == ["5"]
    assert "The run is still going, or was killed" in page.text


def test_the_page_of_an_ended_run_does_not_load_itself_again(run: Run) -> None:
    text = write_page(run.ledger.folder, refresh_s=5, should_draw=False).path.read_text()
    assert 'http-equiv="refresh"' not in text


def test_texts_of_a_page_are_escaped() -> None:
    text = rendered(HOSTILE, HOSTILE, [])
    assert HOSTILE not in text
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in text


def test_nothing_of_the_home_is_in_a_page_and_paths_begin_where_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, project = tmp_path / "home of ann", tmp_path / "home of ann" / "project"
    (project / "results").mkdir(parents=True)
    run = toy_run(project / "results")
    log = run.ledger.trial("trial-0000").log
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(
        f'File "{home}/secret.py", and of another machine: /home/bob/x.py, /Users/eve/y\n'
        "/home/carol/z.py: a path that begins its line\n/home/zoë/x.py\n"
    )
    run.ledger.write_json("environment.json", {"folder": str(project), "command": [str(home / "a b/go.py")]})
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(project)
    path = write_page(run.ledger.folder, should_draw=False).path
    text = path.read_text()
    assert "home of ann" not in text
    assert str(tmp_path) not in text
    assert "bob" not in text
    assert "/eve" not in text
    assert "carol" not in text
    page = Page(text)
    assert "jouletune promote 'results/run' --top 3" in page.text  # quoted for the blank above it
    assert "python ~/'a b/go.py'" in page.text
    assert (
        'File \\"~/secret.py\\", and of another machine: ~/x.py, ~/y'
        "\\n~/z.py: a path that begins its line\\n~/x.py" in text
    )


def test_names_that_only_look_like_a_home_stay() -> None:
    assert render.text_on_page("s3://bucket/home/x and a/home/x, /homework/x") == (
        "s3://bucket/home/x and a/home/x, /homework/x"
    )


def test_names_that_steer_a_terminal_or_turn_text_around_are_written_out() -> None:
    name = "cat\x1b]52;c;aGk=\x07\u202egod\ud800"
    text = rendered(name, name, [Section(key="a", title=name, elements=[])])
    assert "cat\\x1b]52;c;aGk=\\x07\\u202egod\\ud800" in text
    assert not {"\x1b", "\x07", "\u202e", "\ud800"} & set(text)
    assert json_for_script({name: name}).count("cat\\\\x1b]52") == 2


def test_numbers_of_plots_have_six_digits() -> None:
    assert json_for_script({"x": [1 / 3, 12_345_678, None]}, digits=6) == '{"x":[0.333333,12345678,null]}'


def test_a_file_that_another_program_changed_costs_its_section_and_not_the_page(tmp_path: Path) -> None:
    run = toy_run(tmp_path)
    (run.ledger.folder / "forecast.json").write_text("")
    (run.ledger.folder / "environment.json").write_text('{"data": {"found": 3}}')
    written = write_page(run.ledger.folder, should_draw=False)
    (warning,) = written.warnings
    assert warning.startswith("Data: cannot be shown (KeyError: ")
    page = Page(written.path.read_text())
    assert "the others do not depend on it" in page.text
    sections = [attributes["id"] for attributes in page.of("section")]
    assert {"summary", "data", "commands"} <= set(sections)
