"""Pairs of sources, read from a table and the files it names, or made from Python's own library."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics.pairwise import cosine_similarity

from trainables.code_clones.data_sources import PairTable
from trainables.code_clones.edits import clone_of, drawn_noise, with_noise
from trainables.code_clones.trees import Tree, bracketed_tree, python_tree
from trainables.core.contract import DataError
from trainables.core.data_source import DataSource
from trainables.engine.subset import split_rows
from trainables.engine.tables import read_table
from trainables.engine.text.python_stdlib import PYTHON, StdlibFunction, stdlib_functions
from trainables.engine.text.stored import digest

_COLUMNS = ("first", "second", "label")
_PARTS = ("train", "val", "test")
_LISTED = 5
_RECIPE = "clones 2"  # its number changes whenever other pairs come out
_SEED = 0
_MAX_FUNCTIONS = 800
_EDITED_FRACTION = 0.7  # of the places in a function where an edit fits
_MIN_NODES = 20  # smaller functions are alike by chance
_NEIGHBOURS = 2  # a function's non-clone pair is drawn from this many with the most similar words


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs of sources, labelled as clones or not.

    Attributes:
        trees: One tree per source.
        first: Index of each pair's first source; `second` is that of its second.
        labels: 1 for clones, 0 for others.
        parts: "train", "val" or "test" of each pair; empty where the table does not say.
    """

    trees: Sequence[Tree]
    first: Sequence[int]
    second: Sequence[int]
    labels: Sequence[int]
    parts: Sequence[str] = ()

    def split(self, seed: int) -> np.ndarray:
        """The part of each pair, (n,): the table's own, or 15 % each for validation and test."""
        if self.parts:
            return np.array(self.parts)
        labels = torch.tensor(self.labels)
        found = split_rows(labels, np.full(len(labels), "train"), seed=seed)
        parts = np.full(len(labels), "train", dtype="U5")
        for name, rows in zip(_PARTS, found, strict=True):
            parts[rows.numpy()] = name
        return parts

    def num_shared(self, parts: np.ndarray) -> int:
        """Number of sources of validation and test pairs that are also in training pairs."""
        is_train = parts == "train"
        first, second = np.array(self.first), np.array(self.second)
        trained = np.union1d(first[is_train], second[is_train])
        return len(np.intersect1d(trained, np.union1d(first[~is_train], second[~is_train])))


def pairs_key(source: DataSource) -> str:
    """A key that changes with the content of a source.

    Raises:
        DataError: No such file.
    """
    path = _path(source)
    if path is None:
        return digest(PYTHON, _RECIPE)
    rows, _ = _rows(path)
    files = sorted({row[side] for row in rows for side in _COLUMNS[:2]})
    contents = [(path.parent / file).read_bytes() for file in files if (path.parent / file).is_file()]
    return digest(path.read_bytes(), *contents)


def read_pairs(source: DataSource) -> Pairs:
    """The pairs of a source.

    Raises:
        DataError: No such file, or unusable contents; the first few problems are listed.
    """
    path = _path(source)
    if path is None:
        return _made()
    rows, problems = _rows(path)
    files = sorted({row[side] for row in rows for side in _COLUMNS[:2]})
    trees: list[Tree] = []
    for file in files:
        try:
            trees.append(_read_tree(path.parent / file))
        except (OSError, SyntaxError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            problems.append(f"{file} cannot be read: {reason}")
    if problems:
        listed = "; ".join(problems[:_LISTED]) + ("; ..." if len(problems) > _LISTED else "")
        raise DataError(f"{path} has {len(problems)} problems: {listed}")
    number = {file: place for place, file in enumerate(files)}
    return Pairs(
        trees=trees,
        first=[number[row["first"]] for row in rows],
        second=[number[row["second"]] for row in rows],
        labels=[int(row["label"]) for row in rows],
        parts=[row["part"] for row in rows] if "part" in rows[0] else (),
    )


@lru_cache(maxsize=1)
def _made() -> Pairs:
    return made_pairs(stdlib_functions())


def made_pairs(functions: Sequence[StdlibFunction]) -> Pairs:
    """Each function paired with an edited copy of itself, and with another of nearly the same words.

    All four get extra statements that only log, check and count. In a clone pair these are of two habits; in
    the other pair both functions have identical ones. So most of what a pair shares or lacks suggests the
    opposite of its label, and only what the functions do suggests the label.

    A function and all its pairs are in one part: 70, 15 and 15 % of the functions are in the three.
    """
    random = np.random.default_rng(_SEED)
    shuffled = (functions[number].tree for number in random.permutation(len(functions)))
    known: dict[Tree, ast.AST] = {}
    for whole in shuffled:
        if len(known) < _MAX_FUNCTIONS and len((tree := python_tree(whole)).before()) >= _MIN_NODES:
            known.setdefault(tree, whole)  # no two with the same tree
    trees, wholes = list(known), list(known.values())
    ends = np.array([0.7, 0.85, 1.0]) * len(trees)
    parts = np.array(_PARTS)[np.searchsorted(ends, np.arange(len(trees)), "right")]
    others = np.empty(len(trees), int)
    for part in _PARTS:
        rows = np.flatnonzero(parts == part)
        others[rows] = rows[_likest([trees[row] for row in rows], random)]
    pairs = [
        pair
        for whole, other in zip(wholes, others, strict=True)
        for pair in (_clone_pair(whole, random), _other_pair(whole, wholes[other], random))
    ]
    return Pairs(
        trees=[python_tree(tree) for pair in pairs for tree in pair],
        first=[2 * number for number in range(len(pairs))],
        second=[2 * number + 1 for number in range(len(pairs))],
        labels=[1, 0] * len(trees),
        parts=[str(part) for part in parts for _ in range(2)],
    )


def _clone_pair(whole: ast.AST, random: np.random.Generator) -> tuple[ast.AST, ast.AST]:
    """A function and an edited copy of it, with noise of different habits."""
    habit = int(random.integers(2))
    copy = clone_of(whole, random, fraction=_EDITED_FRACTION)
    return _noisy(whole, habit, random), _noisy(copy, 1 - habit, random)


def _other_pair(whole: ast.AST, other: ast.AST, random: np.random.Generator) -> tuple[ast.AST, ast.AST]:
    """Two functions with the same noise."""
    noise = drawn_noise(int(random.integers(2)), len(_body(whole)), random)
    return with_noise(whole, noise, random), with_noise(other, noise, random)


def _noisy(whole: ast.AST, habit: int, random: np.random.Generator) -> ast.AST:
    return with_noise(whole, drawn_noise(habit, len(_body(whole)), random), random)


def _body(whole: ast.AST) -> list[ast.stmt]:
    assert isinstance(whole, ast.FunctionDef | ast.AsyncFunctionDef)
    return whole.body


def _likest(trees: Sequence[Tree], random: np.random.Generator) -> np.ndarray:
    """For each tree the index of one of the few others with the most similar words, (n,)."""
    counts = CountVectorizer(analyzer=Tree.before).fit_transform(trees)
    alike = cosine_similarity(counts)
    np.fill_diagonal(alike, -1)
    nearest = (-alike).argsort(axis=1, kind="stable")[:, :_NEIGHBOURS]
    found: np.ndarray = nearest[np.arange(len(trees)), random.integers(nearest.shape[1], size=len(trees))]
    return found


def _path(source: DataSource) -> Path | None:
    """The table of a source; None for generated pairs."""
    if not isinstance(source, PairTable):
        return None
    path = source.pairs
    if not path.is_file():
        raise DataError(f"{path} does not exist; give pairs: a CSV file with {', '.join(_COLUMNS)}")
    return path


def _rows(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    """The rows of a table, and messages about what is wrong with them."""
    columns, rows = read_table(path)
    if missing := [name for name in _COLUMNS if name not in columns]:
        raise DataError(f"{path} has no column {', '.join(missing)}; it needs {', '.join(_COLUMNS)}")
    problems = [f"line {number}: {text}" for number, row in enumerate(rows, 2) for text in _mistakes(row)]
    return rows, problems if rows else ["it has no pairs"]


def _mistakes(row: Mapping[str, str]) -> list[str]:
    found = []
    if row["label"] not in ("0", "1"):
        found.append(f"label must be 0 or 1, got {row['label']!r}")
    if row.get("part", "train") not in _PARTS:
        found.append(f"part must be one of {', '.join(_PARTS)}, got {row['part']!r}")
    return found


def _read_tree(path: Path) -> Tree:
    text = path.read_text(encoding="utf-8")
    return python_tree(ast.parse(text)) if path.suffix == ".py" else bracketed_tree(text)
