"""Where a script leaves its scores and what it calls them, by reading its source without running it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# What a script imports or calls, and the source of scores that this implies.
_SOURCES = (
    (r"\bimport wandb\b|\bfrom wandb\b", "wandb"),
    (r"\bCSVLogger\b", 'csv: "{checkpoint_dir}/**/metrics.csv"'),
    (r"\bultralytics\b", 'csv: "{checkpoint_dir}/**/results.csv"'),
    (r"\bTrainingArguments\b", "trainer_state"),
    (r"\bSummaryWriter\b", "tensorboard"),
)
_SCORE = re.compile(
    r"(val|valid|validation|eval|test|dev).*(acc|auc|f1|map|score|top1|dice|iou)|accuracy|metrics/mAP", re.I
)
_NAME = re.compile(r"[\w./@-]+")  # a logged score, as opposed to a printed sentence
_LOSS = re.compile(r"(val|valid|validation|eval|test|dev).*(loss|error|perplexity|mse|mae)", re.I)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Where a script leaves its scores, as far as its source says so.

    Attributes:
        source: The value of `metrics`; empty if lines of JSON are printed, or nothing is known.
        metric: A name that the script logs or prints; empty if none was seen.
    """

    source: str
    metric: str

    @property
    def mode(self) -> str:
        return "min" if _LOSS.search(self.metric) and not _SCORE.search(self.metric) else "max"


def scores_of(path: Path) -> Scores:
    """Return where a script in Python leaves its scores, by the names in its source."""
    text = path.read_text(encoding="utf-8", errors="replace")
    source = next((kind for pattern, kind in _SOURCES if re.search(pattern, text)), "")
    try:
        tree = ast.parse(text if path.suffix == ".py" else "")
    except SyntaxError:
        return Scores(source=source, metric="")
    metric = _score_among(_logged_names(tree))
    if source or metric:
        return Scores(source=source, metric=metric)
    columns = list(_columns(tree))
    metric, file = _score_among(columns), next(_written_tables(tree), "")
    if not metric or not file:
        return Scores(source="", metric="")
    return Scores(source=_csv(file, columns), metric=metric)


def _score_among(names: Iterable[str]) -> str:
    known = list(names)
    return next((name for pattern in (_SCORE, _LOSS) for name in known if pattern.search(name)), "")


def _csv(file: str, columns: Iterable[str]) -> str:
    """Return the source of a table, naming its column of epochs if that is not called "epoch"."""
    pattern = f'"{{checkpoint_dir}}/**/{file}"'
    epoch = next((name for name in columns if name.lower() == "epoch"), "epoch")
    return f"csv: {pattern}" if epoch == "epoch" else f"csv: {{file: {pattern}, epoch: {json.dumps(epoch)}}}"


def _written_tables(tree: ast.AST) -> Iterator[str]:
    """Yield the names of CSV files that the source does not read, with * for what is filled in."""
    read = {
        id(node) for call in _calls(tree, r"(read|load)\w*$|open$|add_argument$") for node in _if_read(call)
    }
    for node in ast.walk(tree):
        text = ""
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = re.sub(r"%[a-z]|\{[^{}]*\}", "*", node.value)
        if id(node) not in read and (name := re.search(r"[^\s/\\]+\.csv$", text)):
            yield name[0]


def _if_read(call: ast.Call) -> Iterator[ast.AST]:
    """Yield all nodes of a call that reads; none of one that opens a file for writing."""
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    modes = [each.value for each in given if isinstance(each, ast.Constant)]
    if not any(isinstance(mode, str) and re.fullmatch(r"[wax][bt+]*", mode) for mode in modes):
        yield from ast.walk(call)


def _columns(tree: ast.AST) -> Iterator[str]:
    """Yield names of columns: lists given to a writer, keys of rows, and names separated by commas."""
    for call in _calls(tree, r"[Ww]riter|writerow|DataFrame|append|write$"):
        for node in ast.walk(call):
            if isinstance(node, ast.List | ast.Tuple):
                yield from _words(node.elts)
            elif isinstance(node, ast.Dict):
                yield from _words(node.keys)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "," in node.value:
                yield from filter(None, map(str.strip, node.value.split(",")))


def _logged_names(tree: ast.AST) -> Iterator[str]:
    """Yield the keys and first arguments in calls named like log, dumps, report or print, in their order."""
    for call in _calls(tree, r"log|dumps|report|print"):
        for node in ast.walk(call):
            if isinstance(node, ast.Dict):
                yield from _words(node.keys)
        yield from filter(_NAME.fullmatch, _words(call.args[:1]))


def _calls(tree: ast.AST, pattern: str) -> Iterator[ast.Call]:
    """Yield the calls whose name matches this pattern."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and re.search(pattern, _name(node.func)):
            yield node


def _name(called: ast.AST) -> str:
    """Return a dotted name without arguments: `open("log.csv").write` is open.write, and logs nothing."""
    if isinstance(called, ast.Attribute):
        return f"{_name(called.value)}.{called.attr}"
    if isinstance(called, ast.Call):
        return _name(called.func)
    return called.id if isinstance(called, ast.Name) else ""


def _words(nodes: Iterable[ast.AST | None]) -> Iterator[str]:
    """Yield the values of the nodes that are non-empty strings."""
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
            yield node.value
