"""Docstrings of the running Python's own library as bug reports, to try this out anywhere."""

from __future__ import annotations

import ast
import random
import sysconfig
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from trainables.bug_localization.project import Project, Report, in_order
from trainables.core.contract import DataError

_SEED = 0
_MAX_OF_A_FILE = 5
_MIN_WORDS = 6
_MIN_FILES = 50
_DAY_S = 86_400.0
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def stdlib_project() -> Project:
    """Docstrings of at least six words as reports about the modules that they were taken from.

    All docstrings are removed from the sources, and one that can still be read there, in a comment or a
    message, is not used. At most five are drawn per module, shuffled, a day apart; the same Python always
    gives the same ones. A docstring that several modules share is about all of them.

    Raises:
        DataError: This Python has no sources of its library on disk.
    """
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = [path for path in sorted(folder.glob("*.py")) if not path.name.startswith("_")]
    if len(files) < _MIN_FILES:
        raise DataError(f"{folder} has {len(files)} sources of Python's library, fewer than {_MIN_FILES}")
    random_ = random.Random(_SEED)
    modules_of: dict[str, set[int]] = defaultdict(set)
    texts = []
    for number, path in enumerate(files):
        text, docstrings = undocumented(path.read_bytes())
        texts.append(text)
        bare = _flat(text)
        usable = [words for words in docstrings if len(words.split()) >= _MIN_WORDS and words not in bare]
        for words in random_.sample(usable, min(_MAX_OF_A_FILE, len(usable))):
            modules_of[words].add(number)
    names = sorted(modules_of)
    random_.shuffle(names)
    reports = [_report(words, modules_of[words], day) for day, words in enumerate(names)]
    return Project(in_order(reports), tuple(path.name for path in files), tuple(texts))


def undocumented(source: bytes) -> tuple[str, list[str]]:
    """A source without its docstrings, and the docstrings with white space collapsed to single blanks.

    Lines keep their numbers. The source is text to be searched and need not compile.
    """
    lines = source.split(b"\n")
    docstrings = []
    for node, words in _docstrings(ast.parse(source)):
        docstrings.append(_flat(words))
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        before, after = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
        lines[first : last + 1] = [b""] * (last - first + 1)
        lines[first] = before + b" " + after
    return b"\n".join(lines).decode("utf-8", "replace"), docstrings


def _docstrings(tree: ast.Module) -> Iterator[tuple[ast.Expr, str]]:
    for node in ast.walk(tree):
        if isinstance(node, _Documented) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                words = first.value.value
                if isinstance(words, str):
                    yield first, words


def _report(words: str, modules: set[int], day: int) -> Report:
    summary, _, description = words.partition(". ")
    return Report(
        name=f"docstring-{day:04d}",
        summary=summary,
        description=description,
        files=tuple(sorted(modules)),
        reported_s=day * _DAY_S,
        fixed_s=day * _DAY_S,
    )


def _flat(text: str) -> str:
    return " ".join(text.split())
