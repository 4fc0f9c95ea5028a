"""Where a script leaves its scores and what it calls them, by its source: nothing of it is run."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# What a script imports or calls, and the source of scores that it then leaves.
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
_LOSS = re.compile(r"(val|valid|validation|eval|test|dev).*(loss|error|perplexity|mse|mae)", re.I)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Where a script leaves its scores, as far as its source says so.

    Attributes:
        source: The value of `metrics`; empty where lines of JSON are printed, or nothing is known.
        metric: A name that the script logs or prints; empty where none was seen.
    """

    source: str
    metric: str

    @property
    def mode(self) -> str:
        return "min" if _LOSS.search(self.metric) and not _SCORE.search(self.metric) else "max"


def scores_of(path: Path) -> Scores:
    """What a script in Python logs, by the names in its source."""
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
    metric, file = _score_among(columns), _table_file(tree)
    return (
        Scores(source=_csv(file, columns), metric=metric) if metric and file else Scores(source="", metric="")
    )


def _score_among(names: Iterable[str]) -> str:
    known = list(names)
    return next((name for pattern in (_SCORE, _LOSS) for name in known if pattern.search(name)), "")


def _csv(file: str, columns: Iterable[str]) -> str:
    """The source of a table; its count of epochs is named where it is spelled otherwise than usual."""
    pattern = f'"{{checkpoint_dir}}/**/{file}"'
    epoch = next((name for name in columns if name.lower() == "epoch"), "epoch")
    return f"csv: {pattern}" if epoch == "epoch" else f"csv: {{file: {pattern}, epoch: {json.dumps(epoch)}}}"


def _table_file(tree: ast.AST) -> str:
    """The name of the first CSV file that is written in the source."""
    words = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return next((Path(word).name for word in words if isinstance(word, str) and word.endswith(".csv")), "")


def _columns(tree: ast.AST) -> Iterator[str]:
    """Names of columns: lists that a writer is given, keys of rows, and a line of names between commas."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and re.search(
            r"[Ww]riter|writerow|DataFrame|append|write$", ast.unparse(call.func)
        ):
            for node in ast.walk(call):
                parts = {ast.List: "elts", ast.Tuple: "elts", ast.Dict: "keys"}.get(type(node), "")
                words = [getattr(part, "value", None) for part in getattr(node, parts or "_", ())]
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and "," in node.value:
                    words = [word.strip() for word in node.value.split(",")]
                yield from (word for word in words if isinstance(word, str) and word)


def _logged_names(tree: ast.AST) -> Iterator[str]:
    """Keys of dictionaries in calls whose name ends with log, dumps, report or print, in their order."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and re.search(r"log|dumps|report|print", ast.unparse(call.func)):
            for node in ast.walk(call):
                if isinstance(node, ast.Dict):
                    keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
                    yield from (key for key in keys if isinstance(key, str))
            yield from (
                word.value
                for word in call.args[:1]
                if isinstance(word, ast.Constant) and isinstance(word.value, str)
            )
