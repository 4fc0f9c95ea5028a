"""Syntax trees as words in two orders: Python's from its own parser, other languages' as given."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

_OPERATORS = ast.operator | ast.unaryop | ast.boolop | ast.cmpop  # part of the parent's word
_UNTOLD = _OPERATORS | ast.Module | ast.expr_context | ast.Expr | ast.arguments | ast.alias | ast.keyword
_WORDS = re.compile(r"\[|\]|[^\s\[\]]+")


@dataclass(frozen=True)
class Tree:
    """A node's word and its children."""

    word: str
    children: tuple[Tree, ...] = ()

    def before(self) -> list[str]:
        """All words in pre-order."""
        found, waiting = [], [self]
        while waiting:
            node = waiting.pop()
            found.append(node.word)
            waiting += reversed(node.children)
        return found

    def after(self) -> list[str]:
        """All words in post-order."""
        found, waiting = [], [self]
        while waiting:
            node = waiting.pop()
            found.append(node.word)
            waiting += node.children
        return found[::-1]


def python_tree(code: str | ast.AST) -> Tree:
    """The tree of Python source, without nodes that say nothing about how it works.

    Trees are pruned and enriched as in MRT-OAST: operators, kinds of constants and names from outside, such
    as `len` and `.append`, are part of their node's word. Names defined in the source itself are left out, so
    that renaming changes nothing.

    Raises:
        SyntaxError: It is not Python.
    """
    root = ast.parse(code) if isinstance(code, str) else code
    return Tree("Source", tuple(_trees(root, _own_names(root))))


def bracketed_tree(text: str) -> Tree:
    """The tree written as `A [ B C [ D ] ]`, the format of MRT-OAST's files.

    Raises:
        ValueError: The text is empty, or its brackets do not match.
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
    """The node as a tree, or only its children if it carries no meaning itself."""
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
    """Names that the source defines: variables, parameters, functions and classes."""
    nodes = list(ast.walk(root))
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    parameters = {node.arg for node in nodes if isinstance(node, ast.arg)}
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return stored | parameters | {node.name for node in nodes if isinstance(node, kinds)}
