"""What the documents say is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from search.tables import (
    CONFIGURATION_COLUMNS,
    DEVICE_COLUMNS,
    ENERGY_COLUMNS,
    HISTORY_COLUMNS,
    IDENTICAL_COLUMNS,
    PARETO_COLUMNS,
    PROMOTED_COLUMNS,
    RESERVED,
    TRUST_COLUMNS,
    trial_columns,
)
from tests.support import data_tables
from tests.support.toy_runs import executed, made_space
from trainables.core.load import load_trainable, trainable_names

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "results/README.md"]


def columns_of(section: str) -> list[str]:
    """The columns that a section of results/README.md names, in its order."""
    text = (ROOT / "results/README.md").read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_every_column_of_the_trials_table_is_explained_in_its_order(tmp_path: Path) -> None:
    space = made_space(tmp_path)
    run, _ = executed(space, tmp_path)
    columns = trial_columns(space, run.history)
    ours = [name for name in columns if name in RESERVED]
    assert ours == columns_of("trials.csv")
    assert set(columns) - RESERVED == {"val_accuracy", "lr", "batch_size", "noise"}


def test_every_column_of_the_other_tables_is_explained_in_its_order() -> None:
    assert columns_of("energy.csv") == list(ENERGY_COLUMNS)
    assert columns_of("devices.csv") == list(DEVICE_COLUMNS)
    assert columns_of("pareto.csv") == list(PARETO_COLUMNS)
    assert columns_of("rung_correlation.csv") == list(TRUST_COLUMNS)
    assert columns_of("duplicate_curves.csv") == list(IDENTICAL_COLUMNS)
    assert columns_of("history.csv") == list(HISTORY_COLUMNS)
    assert columns_of("configurations.csv") == list(CONFIGURATION_COLUMNS)
    assert columns_of("promoted.csv") == list(PROMOTED_COLUMNS)


@pytest.mark.parametrize("name", trainable_names())
def test_no_hyperparameter_takes_the_name_of_a_column(name: str) -> None:
    fields = set(load_trainable(name).hparams.__dataclass_fields__)
    assert not fields & (RESERVED | set(PROMOTED_COLUMNS) | set(PARETO_COLUMNS) | set(CONFIGURATION_COLUMNS))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        assert (document.parent / target).exists(), target


def test_the_tree_in_the_readme_is_the_tree() -> None:
    block = (ROOT / "README.md").read_text().split("```text\n")[1].split("```")[0]
    named = {line.split()[0].rstrip("/") for line in block.splitlines() if line and not line.startswith(" ")}
    present = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    ignored = {"results"} & present | {name for name in present if name.endswith(".egg-info")}
    assert named | ignored == present | {"results"}


def test_every_space_says_its_command() -> None:
    for path in (ROOT / "spaces").glob("*.yaml"):
        assert f"python scripts/search.py --space {path.name}" in path.read_text().splitlines()[1]


def test_the_tables_of_data_sources_are_those_of_the_trainables() -> None:
    assert data_tables.DOCUMENT.read_text() == data_tables.document(), "python -m tests.support.data_tables"
