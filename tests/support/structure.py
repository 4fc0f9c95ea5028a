"""Measures of the code base: sizes, slices, hidden imports, explanation, import cycles.

    python tests/support/structure.py [--json] [FOLDER]

A slice is a module of 60 lines or fewer with one importer. A hidden import is one inside a function. Cycles
count only what modules import when they are imported. This script imports nothing of the project.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import statistics
import tokenize
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("search", "trainables")
_LONG_FUNCTION, _SLICE = 45, 60


@dataclass(frozen=True, kw_only=True)
class Structure:
    """Figures of the packages; lengths are in lines, as median, 90th percentile and maximum."""

    files: int
    lines: int
    file_lines: tuple[int, int, int]
    function_lines: tuple[int, int, int]
    long_functions: int
    hidden_imports_per_1000_lines: float
    slices: int
    explanation_share: Mapping[str, float]
    circles: int


def structure(root: Path) -> Structure:
    """Measure the packages below `root`."""
    files = {_module(path, root): path for name in PACKAGES for path in sorted((root / name).rglob("*.py"))}
    texts = {module: path.read_text() for module, path in files.items()}
    trees = {module: ast.parse(text) for module, text in texts.items()}
    lengths = {module: len(text.splitlines()) for module, text in texts.items()}
    functions = [_length(node) for tree in trees.values() for node in _functions(tree)]
    imports = {module: set(_imported(tree, module, files)) for module, tree in trees.items()}
    importers: dict[str, set[str]] = defaultdict(set)
    for module, imported in imports.items():
        for other in imported - {module}:
            importers[other].add(module)
    hidden = sum(_num_hidden(tree) for tree in trees.values())
    return Structure(
        files=len(files),
        lines=sum(lengths.values()),
        file_lines=_spread(list(lengths.values())),
        function_lines=_spread(functions),
        long_functions=sum(length > _LONG_FUNCTION for length in functions),
        hidden_imports_per_1000_lines=round(1000 * hidden / sum(lengths.values()), 2),
        slices=sum(
            lengths[module] <= _SLICE and len(importers[module]) == 1
            for module in files
            if files[module].name != "__init__.py"
        ),
        explanation_share={name: _explained(name, texts, trees) for name in PACKAGES},
        circles=len(_circles({module: _at_top(tree, module, files) for module, tree in trees.items()})),
    )


def _module(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _spread(values: Sequence[int]) -> tuple[int, int, int]:
    tenths = statistics.quantiles(values, n=10)
    return round(statistics.median(values)), round(tenths[-1]), max(values)


def _num_hidden(tree: ast.AST) -> int:
    """The number of imports inside functions."""
    return len(
        {
            (node.lineno, node.col_offset)
            for function in _functions(tree)
            for node in ast.walk(function)
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
    )


def _imported(tree: ast.AST, module: str, known: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in below if name in known)
            if node.module in known and not all(name in known for name in below):
                yield node.module


def _at_top(tree: ast.Module, module: str, known: Mapping[str, Path]) -> set[str]:
    """The modules imported at import time: not inside functions, nor only for type checkers."""
    statements = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return set(_imported(ast.Module(body=list(statements), type_ignores=[]), module, known)) - {module}


def _circles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, found with Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in imports.get(module, ()):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                found.append(group)

    for module in imports:
        if module not in index:
            visit(module)
    return found


def _explained(package: str, texts: Mapping[str, str], trees: Mapping[str, ast.Module]) -> float:
    """The fraction of non-empty lines that are docstrings or comments."""
    explained = total = 0
    for module, text in texts.items():
        if module.split(".")[0] == package:
            lines = _docstring_lines(trees[module]) | _comment_lines(text)
            explained += len(lines)
            total += sum(bool(line.strip()) for line in text.splitlines())
    return round(explained / total, 3)


def _docstring_lines(tree: ast.Module) -> set[int]:
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node.body[0] for node in ast.walk(tree) if isinstance(node, owners) and ast.get_docstring(node)]
    return {line for node in nodes for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}


def _comment_lines(text: str) -> set[int]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {token.start[0] for token in tokens if token.type == tokenize.COMMENT}


def main() -> None:
    """Print the figures."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("folder", nargs="?", type=Path, default=ROOT)
    flags.add_argument("--json", action="store_true")
    options = flags.parse_args()
    figures = asdict(structure(options.folder))
    print(
        json.dumps(figures)
        if options.json
        else "\n".join(f"{name}: {value}" for name, value in figures.items())
    )


if __name__ == "__main__":
    main()
