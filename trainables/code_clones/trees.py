"""Syntax trees as words in two orders: of Python by its own parser, of other languages as they are given."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

_OPERATORS = ast.operator | ast.unaryop | ast.boolop | ast.cmpop  # they stand in the word above
_UNTOLD = _OPERATORS | ast.Module | ast.expr_context | ast.Expr | ast.arguments | ast.alias | ast.keyword
_WORDS = re.compile(r"\[|\]|[^\s\[\]]+")


@dataclass(frozen=True)
class Tree:
    """A node's word and what is below it."""

    word: str
    children: tuple[Tree, ...] = ()

    def before(self) -> list[str]:
        """All words, each before those below it."""
        found, waiting = [], [self]
        while waiting:
            node = waiting.pop()
            found.append(node.word)
            waiting += reversed(node.children)
        return found

    def after(self) -> list[str]:
        """All words, each after those below it."""
        found, waiting = [], [self]
        while waiting:
            node = waiting.pop()
            found.append(node.word)
            waiting += node.children
        return found[::-1]


def python_tree(code: str | ast.AST) -> Tree:
    """The tree of Python source, without what says nothing about how it works.

    As MRT-OAST prunes and enriches trees: operators and kinds of constants stand in their node's word; so do
    names from outside, such as `len` and `.append`. What is named in the source itself has no name, so that
    renaming changes nothing.

    Raises:
        SyntaxError: It is no Python.
    """
    root = ast.parse(code) if isinstance(code, str) else code
    return Tree("Source", tuple(_trees(root, _own_names(root))))


def bracketed_tree(text: str) -> Tree:
    """The tree that is written as `A [ B C [ D ] ]`, which MRT-OAST's files have.

    Raises:
        ValueError: It is empty, or brackets do not match.
    """
    levels: list[list[Tree]] = [[]]
    for word in _WORDS.findall(text):
        if word == "[":
            if not levels[-1]:
                raise ValueError("a bracket opens before any word")
            levels.append([])
        elif word == "]":
            below = tuple(levels.pop())
            if not levels:
                raise ValueError("a bracket closes that was never opened")
            levels[-1][-1] = Tree(levels[-1][-1].word, (*levels[-1][-1].children, *below))
        else:
            levels[-1].append(Tree(word))
    if len(levels) > 1:
        raise ValueError(f"{len(levels) - 1} brackets are not closed")
    if not levels[0]:
        raise ValueError("it is empty")
    return Tree("Source", tuple(levels[0]))


def _trees(node: ast.AST, own: set[str]) -> Iterator[Tree]:
    """The node as a tree; its children instead where it carries no meaning itself."""
    children = tuple(tree for child in ast.iter_child_nodes(node) for tree in _trees(child, own))
    if isinstance(node, _UNTOLD):
        yield from children
    else:
        yield Tree(_word(node, own), children)


def _word(node: ast.AST, own: set[str]) -> str:
    kind = type(node).__name__
    if isinstance(node, ast.BinOp | ast.UnaryOp | ast.BoolOp | ast.AugAssign):
        return f"{kind}_{type(node.op).__name__}"
    if isinstance(node, ast.Compare):
        return "_".join([kind, *(type(op).__name__ for op in node.ops)])
    if isinstance(node, ast.Constant):
        return f"{kind}_{type(node.value).__name__}"
    if isinstance(node, ast.Attribute):
        return f"{kind}_{node.attr}"
    if isinstance(node, ast.Name) and node.id not in own:
        return f"{kind}_{node.id}"
    return kind


def _own_names(root: ast.AST) -> set[str]:
    """Names that the source gives: of variables, parameters, functions and classes."""
    nodes = list(ast.walk(root))
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    parameters = {node.arg for node in nodes if isinstance(node, ast.arg)}
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return stored | parameters | {node.name for node in nodes if isinstance(node, kinds)}
