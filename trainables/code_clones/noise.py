"""Statements that change nothing of what a function does: most of what tells two versions of it apart.

Copies of a function that were logged, checked and timed by different people share little but what it
does (clones of type 3: Roy and Cordy 2007, "A Survey on Software Clone Detection Research"). A network with
random weights judges by what most of a tree is, which is this; to see the function behind it is learnt.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence

import numpy as np

_PER_STATEMENT = (
    2.0  # statements that are put in for each one of the body: two thirds of a tree is then noise
)
# Two authors with habits of their own. Which function they wrote in says nothing of what it does.
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


def drawn_noise(habit: int, num_statements: int, random: np.random.Generator) -> list[ast.stmt]:
    """Statements by one of the two habits, for a body of `num_statements`."""
    num = max(1, round(_PER_STATEMENT * num_statements))
    templates = [_HABITS[habit][number] for number in random.integers(len(_HABITS[habit]), size=num)]
    return [ast.parse(template.format(n=int(random.integers(1000)))).body[0] for template in templates]


def with_noise(tree: ast.AST, noise: Sequence[ast.stmt], random: np.random.Generator) -> ast.AST:
    """A copy of a function with these statements between its own, in their order, and its last one last."""
    noisy = copy.deepcopy(tree)
    assert isinstance(noisy, ast.FunctionDef | ast.AsyncFunctionDef)
    places = np.sort(random.integers(len(noisy.body), size=len(noise)))
    body: list[ast.stmt] = []
    for number, statement in enumerate(noisy.body):
        body += [copy.deepcopy(noise[index]) for index in np.flatnonzero(places == number).tolist()]
        body.append(statement)
    noisy.body = body
    return noisy
