"""Who may import whom. The table stands in CONTRIBUTING.md in words; here it is held."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.cli import COMMANDS

ROOT = Path(__file__).parents[2]
HEAVY = {
    "ray",
    "torch",
    "torchvision",
    "timm",
    "torchmetrics",
    "optuna",
    "pandas",
    "plotly",
    "matplotlib",
    "pynvml",
    "aiohttp",
}
MAY_USE = {
    "search/backends/ray": {"ray"},
    "search/result.py": {"pandas"},
    "search/energy": {"pynvml"},
    "search/report": {"pandas", "plotly", "matplotlib"},
    "search/sampling/sampler.py": {"optuna"},
    "search/sampling/importance.py": {"optuna"},
    "search/export/optuna.py": {"optuna"},
    "search/ui": {"aiohttp"},
    "trainables": {"torch", "torchvision", "timm"},
    # Importing it takes 5 CPU seconds, for each worker: not what every classifier imports.
    "trainables/bug_localization": {"torchmetrics"},
    "trainables/code_clones": {"torchmetrics"},
    "trainables/code_vulnerability": {"torchmetrics"},
    "trainables/detection": {"torchmetrics"},
    "trainables/image_quality": {"torchmetrics"},
    "trainables/siamese": {"torchmetrics"},
}
SHARED_WORDS = {
    "trainables.command.ecosystems",
    "trainables.command.launcher",
    "trainables.command.template",
    "trainables.core.contract",
    "trainables.core.data_source",
    "trainables.core.data_summary",
    "trainables.core.deferred",
    "trainables.core.load",
    "trainables.core.checkpoint",
    "trainables.core.files",
    "trainables.core.gpu",
    "trainables.core.model_folder",
    "trainables.core.subprocess_pool",
    "trainables.core.suggest",
    "trainables.core.optional",
    "trainables.core.progress",
    "trainables.core.promises",
    "trainables.core.user_file",
    "trainables.core.weights",
}


# Commands about a trained model, which work without the search: they print what this package finds.
OF_MODELS = {
    "search/cli/predict.py": {"trainables.engine.inference"},
    "search/cli/export_model.py": {"trainables.engine.inference"},
}


def modules() -> list[str]:
    found = [path for folder in ("search", "trainables", "scripts") for path in (ROOT / folder).rglob("*.py")]
    return sorted(str(path.relative_to(ROOT)) for path in (*found, ROOT / "jouletune.py"))


def imported(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: write imports in full"
            yield node.module or ""


def allowed_heavy(module: str) -> set[str]:
    return {name for place, names in MAY_USE.items() if module.startswith(place) for name in names}


@pytest.mark.parametrize("module", modules())
def test_heavy_packages_are_imported_only_where_they_belong(module: str) -> None:
    heavy = {name.split(".")[0] for name in imported(module)} & HEAVY
    assert heavy <= allowed_heavy(module)


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("search/")])
def test_the_search_knows_trainables_only_by_their_contract(module: str) -> None:
    allowed = SHARED_WORDS | OF_MODELS.get(module, set())
    assert {name for name in imported(module) if name.startswith("trainables")} <= allowed


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("trainables/")])
def test_a_trainable_does_not_know_that_there_is_a_search(module: str) -> None:
    assert not {name for name in imported(module) if name.split(".")[0] in {"search", "ray", "scripts"}}


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("trainables/")])
def test_models_import_the_engine_and_not_each_other(module: str) -> None:
    ours = {name for name in imported(module) if name.startswith("trainables.")}
    if module.startswith("trainables/engine/"):
        allowed = SHARED_WORDS | {name for name in ours if name.startswith("trainables.engine")}
    elif module == "trainables/core/contract.py":
        allowed = set()
    else:
        own = ".".join(module.split("/")[:2])  # a model may be a folder
        allowed = SHARED_WORDS | {
            name for name in ours if name == own or name.startswith(("trainables.engine", f"{own}."))
        }
    assert ours <= allowed


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("search/")])
def test_only_the_backend_of_ray_and_what_starts_it_import_it(module: str) -> None:
    if not module.startswith(("search/backends/ray/", "search/launch.py", "search/cli/")):
        assert not {name for name in imported(module) if name.startswith("search.backends.ray")}


# Where the names of files under results/ are written. The space's package cannot import the ledger's; the
# others write documents about these files, a template's space.yaml, and complete names at TAB, at once.
NAMING = (
    *("search/ledger/run_folder.py", "search/trial/trial_folder.py", "search/space/paths.py"),
    *("search/tables/documents.py", "search/new_trainable.py", "search/cli/parser.py"),
)
NAMES = {
    *("journal.jsonl", "space.yaml", "environment.json", "forecast.json", "promoted.csv", "report.html"),
    *("checkpoint.pt", "checkpoint-previous.pt", "best.pt", "final.pt", "log.txt", "config.yaml"),
    *("history.csv", "test.json", "trials"),
}


def texts_of(module: str) -> Iterator[str]:
    """The texts of a module's code. One that is only a file's name, or ends a path, names a file."""
    tree = ast.parse((ROOT / module).read_text())
    yield from (
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


@pytest.mark.parametrize(
    "module", [name for name in modules() if name.startswith("search/") and name not in NAMING]
)
def test_a_file_of_a_run_is_named_in_one_place(module: str) -> None:
    paths = [text for text in texts_of(module) if " " not in text]
    named = {text for text in paths for name in NAMES if text.rpartition("/")[2] == name != "trials"}
    assert not named


@pytest.mark.parametrize(
    "module", [name for name in modules() if name.startswith("search/") and name not in NAMING]
)
def test_a_path_below_a_run_is_made_in_one_place(module: str) -> None:
    divided = [
        node.right.value
        for node in ast.walk(ast.parse((ROOT / module).read_text()))
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Div)
        and isinstance(node.right, ast.Constant)
    ]
    assert not NAMES & set(divided)


def test_no_test_module_imports_from_another_one() -> None:
    for module in sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py")):
        assert not {name for name in imported(module) if name.split(".")[-1].startswith("test_")}, module


def test_the_contract_needs_the_standard_library_only() -> None:
    roots = {name.split(".")[0] for name in imported("trainables/core/contract.py")}
    assert roots <= set(sys.stdlib_module_names)


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint('\\n', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize(
    "statement",
    [
        "import search.space",
        "import search.run",
        "import search.tables",
        "import search.promotion",
        "from trainables.core.load import *; [load_trainable(name) for name in trainable_names()]",
    ],
)
def test_light_modules_load_nothing_heavy(statement: str) -> None:
    assert not loaded_by(statement) & HEAVY


def test_the_api_loads_nothing_until_it_is_used() -> None:
    assert loaded_by("import jouletune") - loaded_by("pass") == {"__future__", "jouletune"}
    assert not loaded_by("import jouletune; jouletune.search") & HEAVY


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_loads_the_standard_library_only(command: str) -> None:
    statement = (
        "import contextlib, search.cli\n"
        f"with contextlib.suppress(SystemExit): search.cli.run({command!r}, ['--help'])"
    )
    assert not loaded_by(statement) & (HEAVY | {"pydantic", "rich"})
