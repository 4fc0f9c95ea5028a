"""docs/cli.md, made from the parsers: `make docs` writes it, and a test fails when it is stale."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from search.cli import COMMANDS

PATH = Path(__file__).parents[2] / "docs" / "cli.md"
_HEAD = """# The commands

Written by `make docs` from the parsers of `search/cli/`: change them there.

Each command is a subcommand of `jouletune` (which `make setup` and `pip install -e .` install) and of
`python -m jouletune`, and most are a script of the same name in `scripts/`, which needs no installation.

| command | |
|---|---|
"""


def reference() -> str:
    """The whole page."""
    rows = [f"| [`jouletune {name}`](#jouletune-{name}) | {what} |" for name, what in COMMANDS.items()]
    return _HEAD + "\n".join([*rows, "", *(_section(name) for name in COMMANDS)])


def _section(name: str) -> str:
    module = importlib.import_module(f"search.cli.{name.replace('-', '_')}")
    parser = module.parser(f"jouletune {name}")
    actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    rows = [f"| `{_usage(action)}` | {_meaning(action)} |" for action in actions]
    return "\n".join(
        [
            f"## jouletune {name}",
            "",
            f"{parser.description}{_script_text(name)}",
            "",
            "| argument | |",
            "|---|---|",
            *rows,
            "",
            "```text",
            parser.epilog,
            "```",
            "",
        ]
    )


def _script_text(name: str) -> str:
    script = f"scripts/{name.replace('-', '_')}.py"
    return f" As a script: `{script}`." if (PATH.parents[1] / script).is_file() else ""


def _usage(action: argparse.Action) -> str:
    """The flag with its values, as --help shows it: `--watch [S]`."""
    metavar = action.metavar or ("{" + ",".join(action.choices) + "}" if action.choices else None)
    values = " ".join(metavar) if isinstance(metavar, tuple) else str(metavar or action.dest.upper())
    if action.nargs == 0:
        values = ""
    elif action.nargs == "?":
        values = f"[{values}]"
    elif action.nargs == "+":
        values = f"{values} ..."
    return " ".join(filter(None, [*action.option_strings, values])).replace("|", "\\|")


def _meaning(action: argparse.Action) -> str:
    needed = "required: " if action.required and action.option_strings else ""
    return needed + (action.help or "").replace("|", "\\|")


def _write() -> int:
    PATH.write_text(reference(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(_write())
