"""This program's commands as typed in a shell: its scripts in a clone, `jouletune` elsewhere.

Messages and pages name the next command. One that does not run where it is read would be worse than none,
and only a clone has `scripts/`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path


def typed_command(name: str, *words: object) -> str:
    """Return a command as it is typed in the working directory of this process, quoted for a shell."""
    return command_line(command_words(name, *words))


def command_words(name: str, *words: object) -> list[str]:
    """Return a command and its arguments, as `sys.argv` would have them.

    Args:
        name: The subcommand of `jouletune`, such as "search" or "check-energy".
    """
    script = f"scripts/{name.replace('-', '_')}.py"
    program = [script] if Path(script).is_file() else ["jouletune", name]
    return [*program, *map(str, words)]


def command_line(command: Sequence[str]) -> str:
    """Return the command line of these arguments; a Python script, unlike a command, is run by `python`."""
    return shlex.join([*(["python"] if command[0].endswith(".py") else []), *command])
