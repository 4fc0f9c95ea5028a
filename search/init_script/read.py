"""Reads the flags of a script: from its own parser, from Hydra's configuration, or from its `--help`."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from search.errors import UserError
from search.init_script.flag import Flag
from search.init_script.ranges import range_of

_CAPTURE = Path(__file__).with_name("capture.py")
_LIMIT_S = 300.0  # imports of torch and its kind on a cold disk
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# A script that searches by itself, and what parses flags: one without the other would run its whole search.
_OWN_SEARCH = re.compile(r"\.optimize\(|\btune\.(?:run|Tuner)\b|\bTuner\(|\bwandb\.agent\(|\bfmin\(")
_PARSER = re.compile(
    r"argparse|argv|Parser|parse_args|click|typer|tyro|\bfire\b|\babsl\b|docopt|hydra|CLI\b|FLAGS\b|\bTap\b"
)
_HYDRA = re.compile(r"^\s*(?:from\s+hydra|import\b[^#\n]*\bhydra)(?:_zen)?\b", re.MULTILINE)  # not hydrangea
_REFERENCE, _MISSING = "${", "???"  # in a configuration: a value that follows another's, and one to be given
# "  -l, --lr LR, --rate LR  the learning rate (default: 0.1)", with or without the bars of a box
_OPTION = re.compile(r"^[\s│|*]*(?:-\w,?\s+)?(?P<flag>--[\w][\w.\-]*)(?P<rest>.*)$")
_DEFAULT = re.compile(
    r"[\[(]\s*(?:env var: [^;\]]*; )?defaults?(?: is|:|=|\s)\s*(?P<value>.*?)[\])]", re.IGNORECASE
)
_CHOICES = re.compile(r"[{\[<](?P<values>[\w.\-]+(?:[,|][\w.\-]+)+)[}\]>]")
_OF_ITS_LIBRARY = ("--help", "--version", "--install-completion", "--show-completion")
_BOX = "│|╭╮╰╯─ \t"


class UnreadableScript(UserError):
    """The flags of a script cannot be read; the message says why, with the end of what it printed."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """A script and its flags.

    Attributes:
        library: The library that parses its flags; "--help" if that is unknown and the help text was read.
        words: The program and the script as they are started; `{python}` is the Python that runs the search.
    """

    path: Path
    library: str
    words: tuple[str, ...]
    flags: tuple[Flag, ...]


def read_script(
    path: Path, *, folder: Path, python: str = sys.executable, arguments: Sequence[str] = ()
) -> Script:
    """Read the flags of a script by running it until it would parse them.

    Args:
        folder: Where the space goes, and where the script will run.
        python: The Python of a script in Python.
        arguments: Words before its flags, such as a subcommand.

    Raises:
        UnreadableScript: The script does not exist, ends with an error before that, or has no flags.
    """
    if not path.is_file():
        raise UnreadableScript(f"there is no file {path}")
    if path.suffix == ".ipynb":
        raise UnreadableScript(
            f"{path} is a notebook, which takes no flags: save it as a script (jupyter nbconvert --to script "
            f"{path}), and let that parse its hyperparameters"
        )
    is_python = path.suffix == ".py"
    text = path.read_text(encoding="utf-8", errors="replace") if is_python else ""
    if (found := _OWN_SEARCH.search(text)) and not _PARSER.search(text):
        raise UnreadableScript(
            f"{path} is not run: it searches by itself, by {found[0].rstrip('(').lstrip('.')}, and parses no "
            "flags; let a script train once, with hyperparameters that it takes as flags such as --lr"
        )
    own = "{python}" if python == sys.executable else python
    seen = os.path.relpath(path, folder)
    words = (own, seen, *arguments) if is_python else (seen if os.sep in seen else f"./{seen}", *arguments)
    if _HYDRA.search(text):
        flags, library = _of_hydra(path, python, arguments), "hydra"
    elif is_python:
        flags, library = _captured(path, python, arguments)
    else:
        flags, library = _of_help(_printed([str(path.absolute()), *arguments, "--help"], path)), "--help"
    if not flags:
        raise UnreadableScript(f"{path} has no flags: a search sets hyperparameters by flags such as --lr")
    return Script(path=path, library=library, words=words, flags=tuple(flags))


def _captured(path: Path, python: str, arguments: Sequence[str]) -> tuple[list[Flag], str]:
    """Return a script's flags and library from its parser, or from its `--help` if the parser is unknown.

    Raises:
        UnreadableScript: The script fails, or has its flags in subcommands and none was named.
    """
    with TemporaryDirectory(prefix="jouletune-flags-") as folder:
        out = Path(folder) / "flags.json"
        text = _printed([python, str(_CAPTURE), str(out), str(path.absolute()), *arguments, "--help"], path)
        if out.exists():
            found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
            flags = [Flag.of(plain) for plain in found["flags"]]
            if (commands := found["subcommands"]) and not any(map(range_of, flags)):
                raise UnreadableScript(
                    f"{path} has its flags in subcommands ({', '.join(commands)}): name one, such as "
                    f'--arguments "{shlex.join([*arguments, commands[0]])}"'
                )
            return flags, found["library"]
    return _of_help(text), "--help"


def _printed(command: Sequence[str], path: Path) -> str:
    """Run a command and return what it prints to standard output.

    Raises:
        UnreadableScript: It fails, or takes longer than five minutes.
    """
    try:
        done = subprocess.run(
            command,
            cwd=path.absolute().parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT_S,
            check=False,
        )
    except OSError as error:
        cure = f"; chmod +x {path}" if isinstance(error, PermissionError) else ""
        raise UnreadableScript(f"{path} cannot be started: {error.strerror}{cure}") from error
    except subprocess.TimeoutExpired as error:
        raise UnreadableScript(
            f"{path} did not answer --help within {_LIMIT_S:g} s; if it trains instead, as it has no flags, "
            "write its space by hand (docs/own-script.md)"
        ) from error
    if done.returncode:
        last = "; ".join(done.stderr.strip().splitlines()[-3:]) or "nothing"
        raise UnreadableScript(
            f"{path} ended with status {done.returncode} before it parsed its flags: {last}"
        )
    return done.stdout


def _of_hydra(path: Path, python: str, arguments: Sequence[str]) -> list[Flag]:
    """Return a flag for each value of the configuration that Hydra composes, given as words `name=value`.

    A value that follows another's is no flag of its own.

    Raises:
        UnreadableScript: It fails, or prints something else before its configuration.
    """
    text = _printed([python, str(path.absolute()), *arguments, "--cfg", "job"], path)
    try:
        plain = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise UnreadableScript(
            f"{path} prints more than its configuration with --cfg job, and begins with "
            f"{text.lstrip()[:60]!r}: let its main function print that"
        ) from error
    return [
        Flag(name=name, spelled=f"{name}=", is_required=True)
        if value == _MISSING
        else Flag(name=name, spelled=f"{name}=", default=value, kind=type(value).__name__)
        for name, value in _flat(plain)
        if isinstance(value, bool | int | float | str) and not str(value).startswith(_REFERENCE)
    ]


def _flat(plain: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(plain, dict):
        yield before.removesuffix("."), plain
        return
    for name, value in plain.items():
        yield from _flat(value, f"{before}{name}.")


def _of_help(text: str) -> list[Flag]:
    """Return the flags in a help text: each begins a line, and the text up to the next is its own."""
    entries: list[list[str]] = []
    for line in io.StringIO(_ANSI.sub("", text)):
        if found := _OPTION.match(line.rstrip()):
            entries.append([found["flag"], found["rest"]])
        elif entries and line.strip(_BOX + "\n"):
            entries[-1][1] += " " + line.strip(_BOX + "\n")
        elif entries:
            entries[-1][1] += "\n"
    return [_of_entry(flag, rest.partition("\n")[0]) for flag, rest in entries if flag not in _OF_ITS_LIBRARY]


def _of_entry(flag: str, rest: str) -> Flag:
    default = _value(found["value"].strip().strip("'\"")) if (found := _DEFAULT.search(rest)) else None
    if pair := re.match(rf"[\s,/|]*(--no-?{re.escape(flag[2:])})\b", rest):
        is_on = None if default is None else default in (True, flag[2:])
        return Flag(name=flag[2:], spelled=f"{flag}/{pair[1]}", default=is_on, kind="bool")
    choices = _CHOICES.search(rest)
    values = re.split(r"[,|]", choices["values"]) if choices else []
    words = re.sub(r"\s+", " ", rest.strip(_BOX)).strip()
    return Flag(
        name=flag.lstrip("-"),
        spelled=flag,
        default=default,
        kind=type(default).__name__ if default is not None else "",
        choices=tuple(map(_value, values)),
        help=words,
    )


def _value(text: str) -> Any:
    """Return the value that a word of a help text shows."""
    if text in ("True", "False", "true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None if text in ("None", "null", "") else text
