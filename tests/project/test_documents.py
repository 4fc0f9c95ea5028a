"""Documents: code that runs, links that exist, tables and trees that are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from search.ledger.events import REQUIRED
from search.space.fields import Section
from search.space.schema import LadderAxes, SearchSection
from search.tables import RESERVED, trial_columns
from search.tables.analysis import CONFIGURATION_COLUMNS, PARETO_COLUMNS
from search.tables.columns import Column
from search.tables.documents import DOCUMENTED, README, with_tables
from search.tables.promoted import PROMOTED_COLUMNS
from tests.support import data_tables, hparam_tables
from tests.support.toy_runs import executed, made_space
from trainables.core.load import load_trainable, trainable_names

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "results/README.md"]


def test_the_tables_of_columns_are_those_of_the_columns() -> None:
    """`make docs` writes them."""
    text = README.read_text()
    assert with_tables(text) == text


def test_a_stale_table_is_made_new_and_a_missing_one_is_named() -> None:
    text = README.read_text()
    stale = text.replace("| `rank` | | 1 is best |", "| `rank` | | 1 is worst |").replace(
        "| `seed` |", "| `sead` |"
    )
    assert stale != text
    assert with_tables(stale) == text
    with pytest.raises(ValueError, match=r"no table of columns under the heading energy\.csv"):
        with_tables(text.replace("## energy.csv", "## energies"))


def test_a_run_has_the_documented_columns_in_their_order(tmp_path: Path) -> None:
    run, _ = executed(made_space(tmp_path), tmp_path)
    columns = trial_columns(run.space, run.history)
    documented = [one.name for one in DOCUMENTED["trials.csv"] if isinstance(one, Column)]
    ours = [name for name in columns if name in RESERVED]
    assert ours == [name for name in documented if not name.startswith("*")]
    assert set(columns) - RESERVED == {"val_accuracy", "lr", "batch_size", "noise"}
    assert columns.index("val_accuracy") == documented.index("*the metric*")


@pytest.mark.parametrize("name", DOCUMENTED)
def test_no_column_stands_twice_in_a_table(name: str) -> None:
    names = [column.name for column in DOCUMENTED[name]]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", trainable_names())
def test_no_hyperparameter_takes_the_name_of_a_column(name: str) -> None:
    fields = set(load_trainable(name).hparams.__dataclass_fields__)
    assert not fields & (RESERVED | set(PROMOTED_COLUMNS) | set(PARETO_COLUMNS) | set(CONFIGURATION_COLUMNS))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target


def _shown_tree() -> dict[str, set[str]]:
    """What CONTRIBUTING's tree names, by folder; "" is the top. Names stand in a line's first column."""
    block = (ROOT / "CONTRIBUTING.md").read_text().split("```text\n")[1].split("```")[0]
    shown: dict[str, set[str]] = {"": set()}
    folder = ""
    for indent, names in re.findall(r"^( {0,2})((?:[\w.]+/?(?:, )?)+)(?= |$)", block, re.MULTILINE):
        found = [name.rstrip("/") for name in names.split(", ")]
        if not indent:
            (folder,) = found
        shown.setdefault(folder if indent else "", set()).update(found)
    return shown


def _present(folder: Path) -> set[str]:
    return {
        path.name
        for path in folder.iterdir()
        if not path.name.startswith((".", "__")) and not path.name.endswith(".egg-info")
    }


def test_the_tree_in_contributing_is_the_tree() -> None:
    shown = _shown_tree()
    assert shown.keys() == {"", "search", "trainables"}
    for folder, names in shown.items():
        optional = {"results"} if not folder else set()  # a checkout without a run may lack it
        assert names | optional == _present(ROOT / folder) | optional, folder


def test_the_journeys_in_contributing_lead_through_modules_that_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text().split("Four journeys")[1].split("\n## ")[0]
    named = [name.rstrip("/").removesuffix(".py") for name in re.findall(r"`([\w/.]+)`", text)]
    assert len(named) > 20
    for name in named:
        places = [
            ROOT / folder / f"{name}{end}" for folder in ("", "search", "trainables") for end in ("", ".py")
        ]
        assert any(place.exists() for place in places), name


def test_every_key_of_a_space_is_explained() -> None:
    section = (ROOT / "docs/spaces.md").read_text().split("## Every key\n")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| (`.+?`) \| (.+) \|$", section, re.MULTILINE))
    names = [name for cell in rows for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(names) == sorted(SearchSection.model_fields.keys() - {"chosen_ablations"})
    for name, field in SearchSection.model_fields.items():
        kind = LadderAxes if name == "ladder" else type(field.default)
        if issubclass(kind, Section):  # the keys of `command` are in docs/own-script.md
            (text,) = (text for cell, text in rows.items() if f"`{name}`" in cell)
            assert [key for key in kind.model_fields if not re.search(rf"`{key}\b", text)] == [], name


def test_every_event_of_a_journal_is_explained() -> None:
    section = README.read_text().split("## journal.jsonl\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(REQUIRED)


def test_every_space_says_its_command() -> None:
    for path in (ROOT / "spaces").glob("*.yaml"):
        assert f"python scripts/search.py --space {path.name}" in path.read_text().splitlines()[1]


def test_the_tables_of_data_sources_are_those_of_the_trainables() -> None:
    assert data_tables.DOCUMENT.read_text() == data_tables.document(), "python -m tests.support.data_tables"


def test_the_tables_of_hyperparameters_are_those_of_the_trainables() -> None:
    assert hparam_tables.DOCUMENT.read_text() == hparam_tables.document(), "make docs writes it"


@pytest.mark.parametrize("name", trainable_names())
def test_every_hyperparameter_has_a_meaning(name: str) -> None:
    hparams = load_trainable(name).hparams
    assert hparam_tables.defaults(hparams).keys() - hparam_tables.meanings(hparams).keys() == set()
