"""The predict command: what a trained model predicts for images.

Of the search it imports only the parser and what prints.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.cli.parser import CommandParser, count, fraction
from search.printable import counted, csv_cell, printable

if TYPE_CHECKING:
    from trainables.engine.inference import Predictions

_EPILOG = """examples:
  {command} results/lr_bs/promotion/trials/trial-0000/model photos
  {command} model 'photos/*.jpg' more/photo.png --out predictions.csv
  {command} detector/model street.jpg --threshold 0.3

Predictions are printed as CSV, a row for each image (or each box of a detector), and in a terminal as a
table. Nothing in the folder of a model is executed.

exit status: 0 done; 1 some images cannot be read, and have no row; 2 unusable input"""
_MOST_NAMED = 20
_TABLE_COLUMNS = 7


def parser(prog: str = "jouletune predict") -> CommandParser:
    """The flags of the command."""
    flags = CommandParser(
        prog=prog,
        description="Print what a trained model predicts for images: classes with probabilities, boxes, "
        "quality scores, or the features by which a person is re-identified.",
        epilog=_EPILOG,
    )
    add = flags.add_argument
    flags.add_model()
    add(
        "images", nargs="+", metavar="IMAGES", help="files, folders (with all subfolders), or quoted patterns"
    )
    add("--out", type=Path, metavar="FILE", help="write the CSV here (default: to standard output)")
    add(
        "--threshold",
        type=fraction,
        default=0.5,
        metavar="S",
        help="minimum score of a detector's boxes (default: 0.5)",
    )
    add("--device", default="cpu", help="a torch device (default: cpu)")
    add(
        "--batch-size",
        type=count,
        metavar="N",
        help="images at a time (default: as in the model's test)",
    )
    add(
        "--precision",
        choices=("fp32", "bf16", "fp16"),
        help="number format to compute in (default: that of the model's test, which reproduces its scores)",
    )
    return flags


def main(options: argparse.Namespace) -> int:
    """Predict, print or write the answers, and return the exit status."""
    from trainables.engine.inference import predict  # torch, 3 s that --help does without

    try:
        if options.out is not None:
            _check_writable(options.out)
        said = predict(
            options.model,
            options.images,
            device=options.device,
            batch_size=options.batch_size,
            threshold=options.threshold,
            precision=options.precision,
            trainable=options.trainable,
        )
        _show(said, options.out)
    except BrokenPipeError:  # an OSError that is not a mistake: nobody reads the answer
        raise
    except (ValueError, OSError) as error:
        print(f"jouletune predict: error: {printable(str(error))}", file=sys.stderr)
        return 2
    for line in _remarks(said):
        print(printable(line), file=sys.stderr)
    return 1 if said.unreadable else 0


def csv_of(said: Predictions) -> str:
    """The answers as CSV; no cell can be taken for a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(csv_cell, said.columns))
    writer.writerows([csv_cell(row.get(name)) for name in said.columns] for row in said.rows)
    return text.getvalue()


def _check_writable(out: Path) -> None:
    """Check before the images are read, which may take an hour, that their table can be written."""
    if out.is_dir():
        raise ValueError(f"--out: {out} is a folder; name a file in it, such as {out / 'predictions.csv'}")
    out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(out if out.exists() else out.parent, os.W_OK):
        raise ValueError(f"--out: {out} cannot be written; choose another place")


def _show(said: Predictions, out: Path | None) -> None:
    """Write the answers to `out`, or print them: CSV for a program, a table for a person."""
    if out is not None:
        out.write_text(csv_of(said), encoding="utf-8")
        print(f"{len(said.rows)} rows in {out}", file=sys.stderr)
    elif sys.stdout.isatty():
        _print_table(said)
    else:
        sys.stdout.write(csv_of(said))


def _print_table(said: Predictions) -> None:
    """Print the first columns as a table; CSV has all of them."""
    from rich.console import Console  # 40 ms that CSV does without
    from rich.table import Table

    columns = said.columns[:_TABLE_COLUMNS]
    left = len(said.columns) - len(columns)
    table = Table(*columns, caption=f"{counted(left, 'more column')}: --out FILE has all" if left else None)
    for row in said.rows:
        table.add_row(*(_text(row.get(name)) for name in columns))
    Console(markup=False, highlight=False).print(table)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else printable(str(value))


def _remarks(said: Predictions) -> list[str]:
    """What a reader of the answers should know: files that were left out, and why."""
    lines = [f"note: {note}" for note in said.notes]
    if said.num_others:
        skipped = (
            "1 file skipped: not an image by its ending"
            if said.num_others == 1
            else f"{said.num_others} files skipped: not images by their endings"
        )
        lines.append(f"note: {skipped}")
    if said.unreadable:
        named = list(said.unreadable.items())
        lines.append(f"warning: {len(named)} of {said.num_images} images cannot be read, and have no row:")
        lines += [f"  {path}: {reason}" for path, reason in named[:_MOST_NAMED]]
        if len(named) > _MOST_NAMED:
            lines.append(f"  and {len(named) - _MOST_NAMED} more")
    return lines
