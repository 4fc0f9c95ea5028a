"""A command line with places for values, such as `--lr {lr}`; no shell sees it. Standard library only.

A word `${args}` stands for all hyperparameters at once, in one of the forms that W&B's sweep files know, and
`${envvar:NAME}` for a variable of the environment.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

# What a command may be given beside its hyperparameters, as `{epochs}` and so on.
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
# `{newest:PATTERN}`: the file or folder in the trial's own folder that matches and was written last.
NEWEST = "newest:"
# Words that stand for all hyperparameters, as W&B's agent fills them: `${args}` and so on. `${no_args}` is
# ours: a sweep file's command without any of the others passes nothing, since `wandb.config` has the values.
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
NAME = r"[^\W\d][\w.\- /]*"  # of a hyperparameter
_VARIABLE = re.compile(r"\$\{envvar:(\w*)\}")
_FORM = re.compile(r"\$\{(\w+)\}")


def places(tokens: Iterable[str]) -> set[str]:
    """The names in braces.

    Raises:
        ValueError: A brace that stands alone, a format beside a name (values go in as they are), or a word
            of W&B's that is none, or is part of another.
    """
    return {name for token in tokens for _, name in _parts(token) if name is not None}


def variables(tokens: Iterable[str]) -> set[str]:
    """The variables of the environment that the tokens name."""
    return {name for token in tokens for name in _VARIABLE.findall(token)}


def form_of(token: str) -> str | None:
    """The form in which a token stands for all hyperparameters; None of any other token."""
    found = _FORM.fullmatch(token)
    return found[1] if found and found[1] in FORMS else None


def filled(tokens: Sequence[str], values: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    """The tokens with each place filled. A value stays within its token, whatever it holds.

    A variable that is not set leaves its name, as in W&B.
    """
    return ["".join(_pieces(token, values, environment)) for token in tokens]


def flagged(flag: str, value: Any) -> list[str]:
    """Tokens that give `value` by a flag: true is the flag alone, false nothing; `--lr=` joins with it.

    Of a pair such as `--augment/--no-augment`, true is the first and false the second.
    """
    if isinstance(value, bool):
        on, _, off = flag.partition("/") if is_pair(flag) else (flag, "", "")
        return [on] if value else [off] if off else []
    text = text_of(value)
    if flag.endswith("="):
        return [flag + text]
    # argparse takes -1e-05 for a flag
    return [f"{flag}={text}"] if text.startswith("-") and flag.startswith("--") else [flag, text]


def formed(form: str, hparams: Mapping[str, Any], flags: Mapping[str, str]) -> list[str]:
    """All hyperparameters in a form of W&B's that is no JSON; there values are as Python writes them.

    Args:
        flags: The flag of a hyperparameter where it is not `--` and its name.
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
    """Whether a flag is two, one for true and one for false, as click writes them."""
    return bool(re.fullmatch(r"-[^/\s]+/-[^/\s]+", flag))


def text_of(value: Any) -> str:
    """A value in full precision: `float()` of it is the same number. Lists, mappings and null are JSON."""
    if value is None or isinstance(value, bool | list | tuple | Mapping):
        return json.dumps(value, ensure_ascii=False)
    return repr(value) if isinstance(value, float) else str(value)


def escaped(text: str) -> str:
    """A text whose braces are its own, as a token; names of `PLACES` in braces stay places."""
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
            "must be a word of its own" if is_form else f"is none of {', '.join(f'${{{f}}}' for f in FORMS)}"
        )
        raise ValueError(f"{found[0]} in {token!r} {why}")
    return [field for part in _VARIABLE.split(token)[::2] for field in _fields(part)]


def _fields(part: str) -> list[tuple[str, str | None]]:
    try:
        fields = list(string.Formatter().parse(part))
    except ValueError as error:
        raise ValueError(f"{part!r}: {error}; write {{{{ and }}}} for braces of your own") from None
    fields = [_newest(*each) for each in fields]
    for _, name, form, conversion in fields:
        if name is not None and name.startswith(NEWEST):
            continue
        if form or conversion or (name is not None and not re.fullmatch(NAME, name)):
            raise ValueError(
                f"{part!r}: between braces there is a name alone; write {{{{ and }}}} for others"
            )
    return [(literal, name) for literal, name, _, _ in fields]


def _newest(
    literal: str, name: str | None, form: str | None, conversion: str | None
) -> tuple[str, str | None, str | None, str | None]:
    """A place with a pattern as one name; any other as it is."""
    if name == NEWEST.removesuffix(":") and form:
        return literal, NEWEST + form, "", conversion
    return literal, name, form, conversion
