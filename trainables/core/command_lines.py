"""Commands of this program as a shell takes them: in its own folder as its scripts, elsewhere as `jouletune`.

Messages and pages name the command that comes next. One that does not run where it is read would be worse
than none: `scripts/` is at hand in a clone alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path


def typed_command(name: str, *words: object) -> str:
    """How a command is typed in the folder of this process.

    Args:
        name: As after `jouletune`: "search", "check-energy".
        words: Its arguments, which are quoted where a shell needs that.
    """
    script = f"scripts/{name.replace('-', '_')}.py"
    program = ["python", script] if Path(script).is_file() else ["jouletune", name]
    return shlex.join([*program, *map(str, words)])


def command_line(command: Sequence[str]) -> str:
    """The command line that gave these arguments: a script of Python needs its interpreter, an installed
    command does not."""
    return shlex.join([*(["python"] if command[0].endswith(".py") else []), *command])
