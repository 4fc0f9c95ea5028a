"""Clones of Python functions: edits that preserve what a function does, and noise around it.

Copies of a function to which different people added logging, checks and timing share little but what it does
(type-3 clones: Roy and Cordy 2007, "A Survey on Software Clone Detection Research"). A network with random
weights judges by the bulk of a tree, which is noise; it has to learn to see the function behind it.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

Edited = ast.AST | list[ast.stmt] | None
Edit = Callable[[ast.AST], Edited]

_KEPT = "kept"
_MIRRORED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.Gt,
    ast.Gt: ast.Lt,
    ast.LtE: ast.GtE,
    ast.GtE: ast.LtE,
    ast.Eq: ast.Eq,
    ast.NotEq: ast.NotEq,
}

# Statements inserted per statement of the body: two thirds of a tree are then noise.
_PER_STATEMENT = 2.0
# Two authors with habits of their own, which say nothing about what a function does.
_HABITS: tuple[tuple[str, ...], ...] = (
    (
        "logging.debug('step', {n})",
        "logging.info(f'at {{{n}}}')",
        "assert state is not None, 'no state'",
        "started = time.perf_counter()",
        "metrics['calls'] = metrics.get('calls', 0) + 1",
        "if settings.verbose:\n    logging.warning('slow', extra={{'place': {n}}})",
    ),
    (
        "print('debug', {n}, file=sys.stderr)",
        "warnings.warn('unchecked', stacklevel=2)",
        "isinstance(context, dict) or sys.stderr.write('odd')",
        "trace.append(({n}, id(context)))",
        "try:\n    audit(place={n})\nexcept OSError:\n    pass",
        "counter: int = next(ticks)",
    ),
)


def clone_of(tree: ast.AST, random: np.random.Generator, *, fraction: float) -> ast.AST:
    """A copy with other names, in which each possible edit is made with probability `fraction`."""
    clone = copy.deepcopy(tree)
    _rename(clone, random)
    edits: Sequence[Edit] = (_mirrored, _turned, _written_out, _kept_first)
    edited: ast.AST = _Editor(edits, random, fraction).visit(clone)
    return ast.fix_missing_locations(edited)


class _Editor(ast.NodeTransformer):
    """Edits nodes from the leaves upwards, each at most once."""

    def __init__(self, edits: Sequence[Edit], random: np.random.Generator, fraction: float) -> None:
        self._edits, self._random, self._fraction = edits, random, fraction

    def generic_visit(self, node: ast.AST) -> Any:
        node = super().generic_visit(node)
        for edit in self._edits:
            edited = edit(node)
            if edited is not None and self._random.random() < self._fraction:
                return edited
        return node


def _mirrored(node: ast.AST) -> Edited:
    """`a < b` as `b > a`."""
    if not isinstance(node, ast.Compare) or len(node.ops) > 1 or type(node.ops[0]) not in _MIRRORED:
        return None
    return ast.Compare(node.comparators[0], [_MIRRORED[type(node.ops[0])]()], [node.left])


def _turned(node: ast.AST) -> Edited:
    """`if a: b else: c` as `if not a: c else: b`."""
    if not isinstance(node, ast.If) or not node.orelse:
        return None
    return ast.If(ast.UnaryOp(ast.Not(), node.test), node.orelse, node.body)


def _written_out(node: ast.AST) -> Edited:
    """`a += b` as `a = a + b`."""
    if not isinstance(node, ast.AugAssign) or not isinstance(node.target, ast.Name):
        return None
    before = ast.Name(node.target.id, ast.Load())
    return ast.Assign([node.target], ast.BinOp(before, node.op, node.value))


def _kept_first(node: ast.AST) -> Edited:
    """`return f(a)` as `kept = f(a)` and `return kept`."""
    if not isinstance(node, ast.Return) or not isinstance(node.value, ast.Call | ast.BinOp | ast.Subscript):
        return None
    kept = ast.Assign([ast.Name(_KEPT, ast.Store())], node.value)
    return [kept, ast.Return(ast.Name(_KEPT, ast.Load()))]


def _rename(tree: ast.AST, random: np.random.Generator) -> None:
    """Rename all variables and parameters except `self` and `cls`."""
    new: dict[str, str] = {}
    shared = [
        name for node in ast.walk(tree) if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names
    ]
    # Names of `global` and `nonlocal` belong to code outside the function, which is not renamed.
    for name in _renamed(tree):
        if name not in shared:
            new.setdefault(name, f"v{len(new)}_{random.integers(1000)}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = new.get(node.id, node.id)
        elif isinstance(node, ast.arg):
            node.arg = new.get(node.arg, node.arg)


def _renamed(tree: ast.AST) -> Iterator[str]:
    """Names that the tree itself binds: parameters and assigned variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.arg not in ("self", "cls"):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def drawn_noise(habit: int, num_statements: int, random: np.random.Generator) -> list[ast.stmt]:
    """Noise statements in one of the two habits, for a body of `num_statements`."""
    num = max(1, round(_PER_STATEMENT * num_statements))
    templates = [_HABITS[habit][number] for number in random.integers(len(_HABITS[habit]), size=num)]
    return [ast.parse(template.format(n=int(random.integers(1000)))).body[0] for template in templates]


def with_noise(tree: ast.AST, noise: Sequence[ast.stmt], random: np.random.Generator) -> ast.AST:
    """A copy of a function with these statements inserted in order among its own, none after its last."""
    noisy = copy.deepcopy(tree)
    assert isinstance(noisy, ast.FunctionDef | ast.AsyncFunctionDef)
    places = np.sort(random.integers(len(noisy.body), size=len(noise)))
    body: list[ast.stmt] = []
    for number, statement in enumerate(noisy.body):
        body += [copy.deepcopy(noise[index]) for index in np.flatnonzero(places == number).tolist()]
        body.append(statement)
    noisy.body = body
    return noisy
