"""The flags that say who reads what a command prints."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any


def add_output_flags(flags: argparse.ArgumentParser) -> None:
    """Add --quiet and --json."""
    flags.add_argument("--quiet", action="store_true", help="print warnings and the last lines only")
    flags.add_argument(
        "--json",
        action="store_true",
        help="one JSON object on standard output at the end; what people read goes to standard error",
    )


def print_answer(answer: Mapping[str, Any]) -> None:
    """Print `answer` as the whole standard output."""
    print(json.dumps(answer, indent=2))
