"""The parser of every command: a mistake is one line that names the mend."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from trainables.core.suggest import suggest


class CommandParser(argparse.ArgumentParser):
    """argparse, with the nearest flag for one that there is not, and without the usage before an error.

    The epilog has examples a line each, and is printed as it is.
    """

    def __init__(self, *, prog: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def parse_args(  # type: ignore[override]  # typeshed has four overloads of it
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """The options; ends the process with status 2 where a word of `args` has no place."""
        options, left = self.parse_known_args(args, namespace)
        if left:
            self.error(
                "; ".join(self._unknown(word) for word in left if word.startswith("-")) or _spare(left)
            )
        return options

    def error(self, message: str) -> NoReturn:
        """Print the message as one line, and end the process with status 2."""
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")

    def _unknown(self, word: str) -> str:
        flag = word.partition("=")[0]
        known = [name for name in self._option_string_actions if name.startswith("--")]
        return f"there is no flag {flag}{suggest(flag, known)} (--help lists them)"


def _spare(words: Sequence[str]) -> str:
    return f"nothing takes {' '.join(words)}; a flag that takes several values is written once for each"
