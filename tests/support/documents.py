"""The code blocks of a document."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def blocks_of(document: Path, language: str) -> list[str]:
    """The contents of all blocks in this language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def block_of(document: Path, language: str) -> str:
    """The first block in this language."""
    return blocks_of(document, language)[0]
