"""Functions with faults that are put in here: data for trying a finder of faults out anywhere."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable
from typing import Any

import numpy as np

from trainables.engine.text.python_stdlib import StdlibFunction

RECIPE = "flipped comparisons 1"  # of another number where other functions come out
_SEED = 0
_FAULTY_SHARE = 0.33  # as in most collections the sound ones are more
_FLIPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.In: ast.NotIn,
}
_FLIPPED |= {after: before for before, after in _FLIPPED.items()}


def with_flipped_comparisons(functions: Iterable[StdlibFunction]) -> dict[str, Any]:
    """Those functions that compare something; in a third of them every comparison says the opposite.

    Written out by one printer, so that nothing but the comparisons tells which they are. The project is
    the module.

    Returns:
        `texts`, `targets` (1 of the flipped ones) and `projects`, a list each.
    """
    random = np.random.default_rng(_SEED)
    comparing = [function for function in functions if _comparisons(function.tree)]
    is_faulty = random.random(len(comparing)) < _FAULTY_SHARE
    return {
        "texts": [_text(each, bool(flip)) for each, flip in zip(comparing, is_faulty, strict=True)],
        "targets": is_faulty.astype(int).tolist(),
        "projects": [each.module for each in comparing],
    }


def _text(function: StdlibFunction, should_flip: bool) -> str:
    tree = function.tree
    if should_flip:
        tree = copy.deepcopy(tree)
        for comparison in _comparisons(tree):
            comparison.ops = [_FLIPPED[type(op)]() for op in comparison.ops]
    return ast.unparse(tree)


def _comparisons(tree: ast.AST) -> list[ast.Compare]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]
