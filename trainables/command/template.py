"""Command lines with placeholders for values, such as `--lr {lr}`, without a shell. Standard library only.

A word such as `${args}` stands for all hyperparameters at once, in one of the forms of W&B's sweep files, and
`${envvar:NAME}` for an environment variable.

A command given as text is split into words as by a shell, and refused where only a shell could do what it
says: no shell reads it, so that each value stays within its word. Given to the script as words, `| tee log`
would be an error of its parser at best, and ignored at worst. In quotes, or in a list of words, anything may
stand, also for a shell that the command itself starts.
"""

from __future__ import annotations

import json
import re
import shlex
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

# Placeholders that a command may use besides its hyperparameters, as `{epochs}` and so on.
PLACES = (
    "epochs",
    "until",
    "subset",
    "resolution",
    "seed",
    "data_seed",
    "data",
    "device",
    "checkpoint_dir",
    "python",
)
# `{newest:PATTERN}`: the most recently written match in the trial's own folder, a file or folder.
NEWEST = "newest:"
# Words that stand for all hyperparameters, as filled in by W&B's agent: `${args}` and so on. `${no_args}` is
# ours: a sweep file's command with none of the others passes nothing, as `wandb.config` has the values.
FORMS = (
    "args",
    "args_no_equals",
    "args_no_hyphens",
    "args_no_boolean_flags",
    "args_append_hydra",
    "args_override_hydra",
    "args_json",
    "args_json_file",
    "no_args",
)
_FORMS_OF_FLAGS = {"args", "args_no_equals", "args_no_boolean_flags"}
NAME = r"[+~]*[^\W\d][\w.\- /@:\[\]]*"  # a hyperparameter's, which may be an override of Hydra's: +db@backup
_VARIABLE = re.compile(r"\$\{envvar:(\w*)\}")
_FORM = re.compile(r"\$\{(\w+)\}")
# A backslash at the end of a line, which YAML may have folded into a blank.
_CONTINUED = re.compile(r"\\\r?\n|(?<!\S)\\\s+")
_QUOTED = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.""", re.DOTALL)
_OPERATOR = re.compile(r"\|[|&]?|&&?|[()]|.*;|\d?>.*|&>.*|<[^>]*")
_SUBSTITUTED = re.compile(r"\$\(|`")
_SHELL_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)")
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
        if (variable := _SHELL_VARIABLE.search(word)) or _HOME.fullmatch(word):
            name = variable[1] if variable else "HOME"
            raise ValueError(f"{word!r} {_NO_SHELL}; write ${{envvar:{name}}} for the variable")
    return words


def places(tokens: Iterable[str]) -> set[str]:
    """Return the names in braces.

    Raises:
        ValueError: There is an unmatched brace, a format after a name (values are inserted unformatted), or a
            word like W&B's that is unknown or only part of a token.
    """
    return {name for token in tokens for _, name in _parts(token) if name is not None}


def variables(tokens: Iterable[str]) -> set[str]:
    """The environment variables that the tokens name."""
    return {name for token in tokens for name in _VARIABLE.findall(token)}


def form_of(token: str) -> str | None:
    """The form in which a token stands for all hyperparameters; None for any other token."""
    found = _FORM.fullmatch(token)
    return found[1] if found and found[1] in FORMS else None


def filled(tokens: Sequence[str], values: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    """Fill the placeholders in tokens. A value stays within its token, whatever it contains.

    A variable that is not set is replaced by its name, as in W&B.
    """
    return ["".join(_pieces(token, values, environment)) for token in tokens]


def flagged(flag: str, value: Any) -> list[str]:
    """Return the tokens that pass `value` by a flag: for true the flag alone, for false none.

    A flag such as `--lr=` is joined with the value, and a boolean is then True or False, as for a script that
    converts the text. For a pair such as `--augment/--no-augment`, true is the first and false the second.
    """
    if isinstance(value, bool) and flag.endswith("="):
        return [f"{flag}{value}"]
    if isinstance(value, bool):
        on, _, off = flag.partition("/") if is_pair(flag) else (flag, "", "")
        return [on] if value else [off] if off else []
    text = text_of(value)
    if flag.endswith("="):
        return [flag + text]
    # argparse would read -1e-05 as a flag
    return [f"{flag}={text}"] if text.startswith("-") and flag.startswith("--") else [flag, text]


def formed(form: str, hparams: Mapping[str, Any], flags: Mapping[str, str]) -> list[str]:
    """Return all hyperparameters in one of W&B's forms other than JSON, with values as `str` formats them.

    Args:
        flags: The flag of a hyperparameter if it is not `--` and its name.
    """
    if form == "no_args":
        return []
    return [token for name, value in hparams.items() for token in _formed(form, name, value, flags)]


def _formed(form: str, name: str, value: Any, flags: Mapping[str, str]) -> list[str]:
    flag = flags.get(name, f"--{name}").removesuffix("=")
    text = str(value)
    if is_pair(flag) and isinstance(value, bool) and form in _FORMS_OF_FLAGS:
        return flagged(flag, value)
    if form == "args_no_equals":
        return [flag, text]
    if form == "args_no_boolean_flags" and isinstance(value, bool):
        return [flag] if value else []
    before = {"args_no_hyphens": name, "args_append_hydra": f"+{name}", "args_override_hydra": f"++{name}"}
    return [f"{before.get(form, flag)}={text}"]


def is_pair(flag: str) -> bool:
    """Whether a flag is a pair, one for true and one for false, in click's notation."""
    return bool(re.fullmatch(r"-[^/\s]+/-[^/\s]+", flag))


def text_of(value: Any) -> str:
    """Format a value: floats so that they round-trip; booleans, null, lists and mappings as JSON."""
    if value is None or isinstance(value, bool | list | tuple | Mapping):
        return json.dumps(value, ensure_ascii=False)
    return repr(value) if isinstance(value, float) else str(value)


def escaped(text: str) -> str:
    """Escape literal braces in a text to make it a token; `PLACES` in braces stay placeholders."""
    doubled = text.replace("{", "{{").replace("}", "}}")
    for word in _VARIABLE.findall(text):
        doubled = doubled.replace(f"${{{{envvar:{word}}}}}", f"${{envvar:{word}}}")
    return re.sub(rf"{{{{({'|'.join(PLACES)})}}}}", r"{\1}", doubled)


def _pieces(token: str, values: Mapping[str, Any], environment: Mapping[str, str]) -> Iterator[str]:
    for index, part in enumerate(_VARIABLE.split(token)):
        if index % 2:
            yield environment.get(part, part)
            continue
        for literal, name in _fields(part):
            yield literal
            if name is not None:
                yield (
                    str(values["newest"](name.removeprefix(NEWEST)))
                    if name.startswith(NEWEST)
                    else text_of(values[name])
                )


def _parts(token: str) -> list[tuple[str, str | None]]:
    if form_of(token):
        return []
    if (found := _FORM.search(_VARIABLE.sub("", token))) is not None:
        is_form = found[1] in FORMS
        why = (
            "must be a word of its own"
            if is_form
            else f"is none of {', '.join(f'${{{f}}}' for f in FORMS)}; a variable is ${{envvar:{found[1]}}}"
        )
        raise ValueError(f"{found[0]} in {token!r} {why}")
    return [field for part in _VARIABLE.split(token)[::2] for field in _fields(part)]


def _fields(part: str) -> list[tuple[str, str | None]]:
    try:
        fields = list(string.Formatter().parse(part))
    except ValueError as error:
        raise ValueError(f"{part!r}: {error}; write {{{{ and }}}} for literal braces") from None
    fields = [_newest(*each) for each in fields]
    for _, name, form, conversion in fields:
        if name is not None and name.startswith(NEWEST):
            continue
        if form or conversion or (name is not None and not re.fullmatch(NAME, name)):
            raise ValueError(
                f"{part!r}: only a name may stand between braces; write {{{{ and }}}} for literal braces"
            )
    return [(literal, name) for literal, name, _, _ in fields]


def _newest(
    literal: str, name: str | None, form: str | None, conversion: str | None
) -> tuple[str, str | None, str | None, str | None]:
    """Join `newest` and its pattern, parsed as a format, to one name; return other placeholders unchanged."""
    if name == NEWEST.removesuffix(":") and form:
        return literal, NEWEST + form, "", conversion
    return literal, name, form, conversion


def _unquoted(found: re.Match[str]) -> str:
    """What a shell would still replace in a quoted part; a letter for any other."""
    part = found[0]
    is_one_word = part.startswith('"') and not re.search(r"\s", part)
    return part[1:-1] if is_one_word and "$" in part else "q"
