"""Recognises secrets by the names of variables, and removes them from text: no file of a run or Ray has one.

Only names can be judged, since a token looks like any other text. Results are shared, and Ray's logs are
readable by everybody on the machine (0644), so it is better to hide one name too many than one too few.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

HIDDEN = "..."
# AWS_PROFILE and the like are not secret, but need not be in a file either.
_NAMES = re.compile(
    r"AWS_.*|.*SECRET.*|.*_KEY(_ID)?"
    r"|(.*_)?(TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|API_?KEY|ACCESS_?KEY)",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(r"([\w.-]*?)([A-Za-z][\w-]*)([=:]\s*)(.+)", re.DOTALL)
_IN_URL = re.compile(r"(\w+://[^/\s:@]*:)[^/\s@]+(@)")


def looks_secret(name: str) -> bool:
    """Whether a variable or a flag of this name holds a secret: AWS_*, *_TOKEN, *_KEY and the like."""
    return _NAMES.fullmatch(name.strip().lstrip("-").replace("-", "_")) is not None


def without_secrets(words: Sequence[str]) -> list[str]:
    """Return a command line with "..." for secrets: after `--api-key`, in `NAME=VALUE`, and in URLs."""
    shown: list[str] = []
    for word in words:
        before = shown[-1] if shown else ""
        is_value = before.startswith("-") and "=" not in before and looks_secret(before)
        shown.append(HIDDEN if is_value and not word.startswith("-") else _assigned(word))
    return shown


def _assigned(word: str) -> str:
    """Hide the value in words such as `search.command.env.HF_TOKEN=x` and `env={HF_TOKEN: x}`."""
    word = _IN_URL.sub(rf"\1{HIDDEN}\2", word)
    match = _ASSIGNED.fullmatch(word)
    if match is None:
        return word
    group, name, sign, value = match.groups()
    if looks_secret(name):
        return f"{group}{name}{sign}{HIDDEN}"
    inner = re.sub(
        r"([A-Za-z][\w-]*)(\s*[=:]\s*)([^,}\s]+)",
        lambda each: f"{each[1]}{each[2]}{HIDDEN if looks_secret(each[1]) else each[3]}",
        value,
    )
    return f"{group}{name}{sign}{inner}"
