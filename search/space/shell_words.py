"""A command given as text: split into words as by a shell, refused where only a shell could do what it says.

No shell reads a command, so that each value stays within its word. Given to the script as words, `| tee log`
would be an error of its parser at best, and ignored at worst. In quotes, or in a list of words, anything may
stand, also for a shell that the command itself starts.
"""

from __future__ import annotations

import re
import shlex

# A backslash at the end of a line, which YAML may have folded into a blank.
_CONTINUED = re.compile(r"\\\r?\n|(?<!\S)\\\s+")
_QUOTED = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.""", re.DOTALL)
_OPERATOR = re.compile(r"\|[|&]?|&&?|[()]|.*;|\d?>.*|&>.*|<[^>]*")
_SUBSTITUTED = re.compile(r"\$\(|`")
_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)")
_HOME = re.compile(r"(?:--?[\w-]+=)?~(?:/.*)?")
_ASSIGNED = re.compile(r"([A-Z_][A-Z0-9_]*)=.*")
_NO_SHELL = "needs a shell, and a command is run without one"
_CURES = (
    "folder and env under search.command say where and with which variables one program runs, and what it "
    "prints is in the trial's stdout.txt; or put the line into a script of your own and write bash SCRIPT"
)


def words_of(text: str) -> list[str]:
    """Split a command into words.

    Raises:
        ValueError: It has unmatched quotes, or needs a shell; the message says what to write instead.
    """
    text = _CONTINUED.sub(" ", text)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"cannot be split into words: {error}; write a list of words") from None
    for index, word in enumerate(_QUOTED.sub(_unquoted, text).split()):
        if index == 0 and (assigned := _ASSIGNED.fullmatch(word)):
            raise ValueError(f"{words[0]!r} {_NO_SHELL}; write search.command.env: {{{assigned[1]}: ...}}")
        if _OPERATOR.fullmatch(word) or _SUBSTITUTED.search(word):
            raise ValueError(f"{word!r} {_NO_SHELL}; {_CURES}")
        if (variable := _VARIABLE.search(word)) or _HOME.fullmatch(word):
            name = variable[1] if variable else "HOME"
            raise ValueError(f"{word!r} {_NO_SHELL}; write ${{envvar:{name}}} for the variable")
    return words


def _unquoted(found: re.Match[str]) -> str:
    """What a shell would still replace in a quoted part; a letter for any other."""
    part = found[0]
    is_one_word = part.startswith('"') and not re.search(r"\s", part)
    return part[1:-1] if is_one_word and "$" in part else "q"
