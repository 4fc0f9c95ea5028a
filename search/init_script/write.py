"""Writes a space for a script: its flags as parameters, its defaults as trial 0, comments for the rest."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

from search.command_lines import typed_command
from search.init_script.flag import Flag
from search.init_script.ranges import default_of, is_number, place_of, range_of, unrecognised
from search.init_script.read import Script
from search.init_script.scores import Scores

_WIDTH = 110
_MAX_HELP = 60  # characters of a flag's help text in a comment


def space_text(script: Script, scores: Scores, *, name: str) -> str:
    """Return the space as YAML.

    Args:
        name: Name of the file, for the command in its first line.
    """
    places = {place: flag for flag in script.flags if (place := place_of(flag))}
    searched = [flag for flag in script.flags if range_of(flag) is not None]
    lines = [
        f"# {typed_command('search', '--space', f'./{name}')}",
        f"# Written by `jouletune init-script {script.path}` from the flags of the script ({_how(script)}).",
        "# Ranges are around the script's own defaults, which are trial 0: check them.",
        *_parameters(searched),
        "search:",
        "  trainable: command",
        "  command:",
        f"    run: {json.dumps(_run(script, places))}",
        *_metrics(scores),
        f"    defaults: {_flow(_defaults(searched))}  # trial 0",
        *_flags(searched),
        *_ladder(places),
        "  limits: {trials: 24}",
        *_left(script, places),
    ]
    return "\n".join(lines) + "\n"


def _how(script: Script) -> str:
    return "read from the text of --help" if script.library == "--help" else f"as {script.library} has them"


def _parameters(searched: list[Flag]) -> Iterator[str]:
    yield "parameters:"
    if not searched:
        yield "  {}  # no flag has a name that says what it is: add lines such as lr: {min: 0.001, max: 0.1}"
    for flag in searched:
        found = range_of(flag)
        assert found
        default = "no default is known" if flag.default is None else f"default {json.dumps(flag.default)}"
        yield f"  {_key(flag)}: {_flow(found.entry)}  # {default}; {found.reason}"


def _defaults(searched: list[Flag]) -> dict[str, Any]:
    """Return trial 0: the script's own values, or the middle of a range if it has none."""
    return {_key(flag): default_of(flag) for flag in searched}


def _run(script: Script, places: dict[str, Flag]) -> str:
    words = [*map(_quoted, script.words), *(_given(flag, f"{{{place}}}") for place, flag in places.items())]
    return " ".join(words)


def _quoted(word: str) -> str:
    """Return a word as the text of a command has it: whole, and without placeholders but Python's."""
    return word if word == "{python}" else shlex.quote(word.replace("{", "{{").replace("}", "}}"))


def _given(flag: Flag, value: str) -> str:
    return f"{flag.spelled}{value}" if flag.spelled.endswith("=") else f"{flag.spelled} {value}"


def _metrics(scores: Scores) -> Iterator[str]:
    if scores.source:
        source = f"{{{scores.source}}}" if ":" in scores.source else scores.source
        yield f"    metrics: {source}  # by its source"
    else:
        yield '    # It must print a line of JSON an epoch, such as {"epoch": 1, "val_acc": 0.86}, or write'
        yield "    # scores as metrics: wandb, csv, jsonl, tensorboard or trainer_state (docs/own-script.md)"
    seen = (
        "a name that the script logs"
        if scores.metric
        else "no name was found in the script: write the right one"
    )
    yield f"    metric: {json.dumps(scores.metric or 'val_acc')}  # {seen}"
    yield f"    mode: {scores.mode}"


def _flags(searched: list[Flag]) -> Iterator[str]:
    """Yield the flags that are not spelled `--` and the name of the hyperparameter."""
    unusual = {_key(flag): flag.spelled for flag in searched if flag.spelled != f"--{_key(flag)}"}
    if unusual:
        yield f"    flags: {_flow(unusual)}"


def _ladder(places: dict[str, Flag]) -> Iterator[str]:
    epochs = places.get("epochs")
    top = epochs.default if epochs is not None and is_number(epochs.default) else None
    if top is None or top < 1:
        yield "  ladder: {epochs: [1, 3, 9]}  # the script sets no number of epochs"
        return
    rungs = sorted({max(1, round(top / 9)), max(1, round(top / 3)), round(top)})
    yield f"  ladder: {{epochs: {rungs}}}  # the script's own number, and rungs below it"


def _left(script: Script, places: dict[str, Flag]) -> Iterator[str]:
    """Yield comments with the flags that stay as they are, for the user to choose from."""
    taken = set(map(id, places.values()))
    left = [flag for flag in unrecognised(script.flags) if id(flag) not in taken]
    required = [flag for flag in left if flag.is_required]
    if required:
        yield "# The script also needs these: add them to run."
        given = {flag.name: _given(flag, "VALUE") if flag.spelled else flag.name.upper() for flag in required}
        yield from (f"#   {given[flag.name]}{_words(flag)}" for flag in required)
    others = [flag for flag in left if not flag.is_required]
    if others:
        yield "# Left as they are; a line under parameters (and its default under defaults) searches one."
        yield from (_comment(flag) for flag in others)


def _comment(flag: Flag) -> str:
    default = "" if flag.default is None else f" = {json.dumps(flag.default)}"
    choices = f" of {', '.join(map(str, flag.choices[:8]))}" if flag.choices else ""
    return f"#   {flag.spelled}{default}{choices}{_words(flag)}"[:_WIDTH]


def _words(flag: Flag) -> str:
    text = " ".join(flag.help.split())
    return f": {text[:_MAX_HELP]}" if text else ""


def _key(flag: Flag) -> str:
    """Return the hyperparameter's name: the flag's, with underscores for dashes, as in spaces."""
    return flag.name.replace("-", "_")


def _flow(values: dict[str, Any]) -> str:
    """Return a mapping as YAML on one line."""
    return "{" + ", ".join(f"{_word(name)}: {_value(value)}" for name, value in values.items()) + "}"


def _word(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][\w.]*", name) else json.dumps(name)


def _value(value: Any) -> str:
    if (
        isinstance(value, str)
        and re.fullmatch(r"[A-Za-z][\w.\-/]*", value)
        and value.lower() not in ("yes", "no", "on", "off", "true", "false", "null")
    ):
        return value
    return json.dumps(value)
