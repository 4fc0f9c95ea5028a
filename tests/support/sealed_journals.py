"""Forged journals: changed lines with correct numbers and checksums."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from search.ledger.journal_lines import ChainEnd, encode


def write_sealed(path: Path, events: Iterable[Mapping[str, Any]]) -> None:
    """Write a journal of `events`, each with its `time`, sealed as if this program had written them."""
    chain, lines = ChainEnd(), []
    for event in events:
        plain = {name: value for name, value in event.items() if name not in {"time", "seq", "crc"}}
        line, chain = encode(event["time"], plain, chain)
        lines.append(line)
    path.write_bytes(b"".join(lines))


def reseal(path: Path, *replacements: tuple[str, str]) -> None:
    """Replace texts in a journal and seal it again."""
    text = path.read_text()
    for old, new in replacements:
        text = text.replace(old, new)
    write_sealed(path, map(json.loads, text.splitlines()))
