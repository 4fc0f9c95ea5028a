"""Functions of the running Python's standard library: real source code on any machine."""

from __future__ import annotations

import ast
import platform
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

PYTHON = f"{platform.python_implementation()} {platform.python_version()}"
_MAX_BYTES = 60_000  # of a module: the few longer ones take half of the parsing time
_LEFT_OUT = {"site-packages", "test", "idlelib", "lib2to3", "turtledemo"}  # not library, or a third of all
_LINES = range(3, 13)  # of a function: getters carry no signal, and the longest cost most

Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, eq=False)
class StdlibFunction:
    """A function as a syntax tree, which must not be changed.

    Attributes:
        name: Qualified by the classes and functions around it, such as `Path.is_file`.
    """

    module: str
    name: str
    tree: Definition


@lru_cache(maxsize=1)
def stdlib_functions() -> tuple[StdlibFunction, ...]:
    """Functions of 3 to 12 lines, in the order of their modules' names.

    Docstrings are left out. A package is one module.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted([*root.glob("*.py"), *root.glob("*/*.py")])
    return tuple(
        function
        for path in paths
        if path.stat().st_size <= _MAX_BYTES and path.parent.name not in _LEFT_OUT
        for function in _functions(path, path.relative_to(root).with_suffix("").parts[0])
    )


def _functions(path: Path, module: str) -> Iterator[StdlibFunction]:
    for name, tree in _definitions(ast.parse(path.read_bytes()), ()):
        num_lines = (tree.end_lineno or tree.lineno) - tree.lineno + 1
        if num_lines in _LINES:
            yield StdlibFunction(module, name, _without_docstring(tree))


def _definitions(parent: ast.AST, names: tuple[str, ...]) -> Iterator[tuple[str, Definition]]:
    for child in ast.iter_child_nodes(parent):
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        inner = (*names, child.name) if isinstance(child, Definition | ast.ClassDef) else names
        if is_function:
            yield ".".join(inner), child  # type: ignore[misc]
        else:
            yield from _definitions(child, inner)


def _without_docstring(tree: Definition) -> Definition:
    if ast.get_docstring(tree, clean=False) is not None:
        tree.body = tree.body[1:] or [ast.Pass()]
    return tree
