"""The tables of docs/data.md, from the sources that the trainables declare."""

from __future__ import annotations

from pathlib import Path

from trainables.core.data_source import sources_table
from trainables.core.load import load_trainable, trainable_names

DOCUMENT = Path(__file__).parents[2] / "docs/data.md"
_MARK = "<!-- written by `python -m tests.support.data_tables`, from trainables/*/data_sources.py -->\n"


def tables() -> str:
    """A section for each set of sources, named after the trainables that take it."""
    takers: dict[tuple[type, ...], list[str]] = {}
    for name in trainable_names():
        takers.setdefault(load_trainable(name).data_sources, []).append(name)
    nothing = "It reads no data: `data: none`."
    return "".join(
        f"\n### {', '.join(names)}\n\n{sources_table(kinds) if kinds else nothing}\n"
        for kinds, names in takers.items()
    )


def document() -> str:
    """The document as it should be: the text above the mark, then up-to-date tables."""
    above, _, _ = DOCUMENT.read_text(encoding="utf-8").partition(_MARK)
    return above + _MARK + tables()


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
