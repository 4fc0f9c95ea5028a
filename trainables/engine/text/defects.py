"""Functions with faults that are put in here: data for trying a finder of faults out anywhere."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable
from typing import Any

import numpy as np

from trainables.engine.text.python_stdlib import StdlibFunction

RECIPE = "flipped comparisons 2"  # of another number where other functions come out
_SEED = 0
_TURNED_SHARE = 0.5  # as in most collections the sound ones are more, here twice as many
_FLIPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.In: ast.NotIn,
}
_FLIPPED |= {after: before for before, after in _FLIPPED.items()}


def with_flipped_comparisons(functions: Iterable[StdlibFunction]) -> dict[str, Any]:
    """Those functions that compare something, and half of them once more, every comparison the opposite.

    Written out by one printer, so that nothing but the comparisons tells which are which. The project is
    the module, so that a function and its turned self are in one part.

    Returns:
        `texts`, `targets` (1 of the turned ones, a third) and `projects`, a list each.
    """
    random = np.random.default_rng(_SEED)
    comparing = [function for function in functions if _comparisons(function.tree)]
    turned = [function for function in comparing if random.random() < _TURNED_SHARE]
    return {
        "texts": [_text(each, False) for each in comparing] + [_text(each, True) for each in turned],
        "targets": [0] * len(comparing) + [1] * len(turned),
        "projects": [each.module for each in (*comparing, *turned)],
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
