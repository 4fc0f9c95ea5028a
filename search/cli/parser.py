"""The parser of every command, and the flags that commands share. The standard library only."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from trainables.core.suggest import suggest

if TYPE_CHECKING:
    from search.output import Output

_RUNS = {"run", "warm_start", "portfolio", "rerun_failed", "compare"}


class CommandParser(argparse.ArgumentParser):
    """An argparse parser that suggests the nearest flag for an unknown one and prints errors without usage.

    Args:
        prog: How the command is called, "search.py" or "jouletune search".
        epilog: Examples and exit statuses, printed as they are; {command} is the command as a shell takes it.
    """

    def __init__(self, *, prog: str, description: str, epilog: str) -> None:
        command = f"python scripts/{prog}" if prog.endswith(".py") else prog
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog.replace("{command}", command),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        # For errors that a command finds after parsing, printed under the name that it was called by.
        self.set_defaults(refuse=self.error)

    def format_help(self) -> str:
        """Return the help, with its description wrapped like the flags; the epilog stays as it is."""
        whole, columns = self.description or "", shutil.get_terminal_size().columns - 2
        self.description = textwrap.fill(whole, columns)
        try:
            return super().format_help()
        finally:
            self.description = whole

    def parse_args(  # type: ignore[override]  # typeshed has four overloads of it
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Return the options, or end the process with status 2 if a word of `args` is not expected."""
        options, left = self.parse_known_args(args, namespace)
        if left:
            unknown = "; ".join(self._unknown(word) for word in left if word.startswith("-"))
            self.error(unknown or _unexpected(left, lacks_space=getattr(options, "space", "") is None))
        return options

    def error(self, message: str) -> NoReturn:
        """Print the message as one line, and end the process with status 2."""
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")

    def _unknown(self, word: str) -> str:
        flag = word.partition("=")[0]
        known = [name for name in self._option_string_actions if name.startswith("--")]
        return f"there is no flag {flag}{suggest(flag, known)} (--help lists them)"

    def add_run(self, *, is_required: bool = True) -> None:
        """Add RUN."""
        nargs = None if is_required else "?"
        self.add_argument(
            "run",
            nargs=nargs,
            metavar="RUN",
            help="a run's folder, its name in DIR, or its address: s3://bucket/path/NAME",
        )

    def add_model(self) -> None:
        """Add MODEL and --trainable."""
        self.add_argument(
            "model",
            type=Path,
            metavar="MODEL",
            help="the folder model/ of a promoted training or of train.py --out, or its parent folder",
        )
        self.add_argument(
            "--trainable",
            type=Path,
            metavar="FILE",
            help="the Python file of your own trainable, whose code is run; built-in trainables need none",
        )

    def add_set(self, what: str = "override a key of the space; dotted, repeatable") -> None:
        """Add --set KEY=VALUE."""
        self.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=what)

    def add_data(self) -> None:
        """Add --data DATA."""
        self.add_argument(
            "--data",
            metavar="DATA",
            help="what to train on, as in search.data: a folder, a file, or a name such as mnist5k",
        )

    def add_budget(self) -> None:
        """Add --budget-epochs, --budget-subset and --budget-size."""
        self.add_argument(
            "--budget-epochs",
            metavar="N",
            type=not_empty,
            help="epochs of the top rung; lower rungs keep their proportions",
        )
        self.add_argument(
            "--budget-subset",
            metavar="S",
            type=not_empty,
            help="fraction (0.5) or number (500) of training examples at the top rung",
        )
        self.add_argument(
            "--budget-size", metavar="PX", type=not_empty, help="resolution of the top rung in pixels"
        )

    def add_results(self, meaning: str = "where runs are") -> None:
        """Add --results DIR."""
        self.add_argument(
            "--results",
            type=Path,
            default=Path("results"),
            metavar="DIR",
            help=f"{meaning}; a folder, or a bucket: s3://bucket/path, gs://, az:// (default: results)",
        )

    def add_output(self) -> None:
        """Add --quiet, --plain and --json."""
        self.add_argument("--quiet", action="store_true", help="print only warnings and the last lines")
        self.add_argument(
            "--plain",
            action="store_true",
            help="print lines only, as in a log: no live view, no colour",
        )
        self.add_argument(
            "--json",
            action="store_true",
            help="print one JSON object to standard output at the end, and everything else to standard error",
        )

    def add_backend(self, what: str) -> None:
        """Add --backend and --address, which say where `what` run."""
        self.add_argument(
            "--backend",
            choices=("ray", "ray-core", "local"),
            default="ray",
            help=f"what executes the {what}: Ray Tune (ray), Ray without it (ray-core), or this process "
            "(local), one after another, so that breakpoints work (default: ray)",
        )
        self.add_argument(
            "--address",
            metavar="HOST:PORT",
            help="join a running Ray cluster; DIR must be on storage that all nodes share (for a bucket, "
            "JOULETUNE_STAGING must be)",
        )

    def add_machine(self) -> None:
        """Add --governor, --background and --background-share."""
        self.add_argument(
            "--governor",
            metavar="NAME",
            help="CPU frequency governor during the run, such as performance; needs root",
        )
        self.add_argument(
            "--background",
            metavar="SPACE",
            help="meanwhile, train this space's default configuration repeatedly on the same device",
        )
        self.add_argument(
            "--background-share",
            type=fraction,
            metavar="S",
            help="GPU fraction for the background workload (default: what a trial leaves, or 0.5)",
        )


def launch_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The flags of `add_backend` and `add_machine`, --skip-preflight and --no-report, as keyword arguments of
    `search` and `promote`."""
    return {
        "backend": options.backend,
        "address": options.address,
        "governor": options.governor,
        "background": options.background,
        "background_share": options.background_share,
        "should_preflight": not options.skip_preflight,
        "should_report": not options.no_report,
    }


def chosen_output(options: argparse.Namespace) -> Output:
    """Where a command prints, by the flags of `add_output`."""
    from search.output import Output  # rich: --help does without

    return Output(is_quiet=options.quiet, has_json=options.json, is_plain=options.plain)


def space_overrides(options: argparse.Namespace) -> list[str | tuple[str, Any]]:
    """The flags of `add_budget`, `add_data` and `add_set` as overrides of the space file; --set is last."""
    budget = {
        "search.budget.epochs": options.budget_epochs,
        "search.budget.subset": options.budget_subset,
        "search.budget.resolution": options.budget_size,
    }
    given = (f"{key}={value}" for key, value in budget.items() if value is not None)
    return [*given, *_data_overrides(options.data), *options.set]


def _data_overrides(given: str | None) -> list[str | tuple[str, Any]]:
    """The override of --data: text as it was typed, unless it is a mapping in braces."""
    if given is None:
        return []
    return [f"search.data={given}" if given.startswith("{") else ("search.data", given)]


def print_json(answer: Mapping[str, Any]) -> None:
    """Print `answer` as the whole standard output."""
    print(json.dumps(answer, indent=2))


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks for completions, and end the process; do nothing if none asks."""
    if "_ARGCOMPLETE" not in os.environ:
        return
    import argcomplete  # only if a shell asks
    from argcomplete.completers import BaseCompleter, FilesCompleter

    class Offered(BaseCompleter):
        """Names of spaces and runs that fit the flag, else files."""

        def __call__(
            self,
            *,
            prefix: str,
            action: argparse.Action,
            parser: argparse.ArgumentParser,
            parsed_args: argparse.Namespace,
        ) -> list[str]:
            words = [*FilesCompleter()(prefix), *_names_for(action.dest, parsed_args)]
            return [word for word in words if word.startswith(prefix)]

    argcomplete.autocomplete(parser, default_completer=Offered())


def completed_command() -> str | None:
    """The command of `jouletune COMMAND ...` that a shell asks about; None while its name is being typed.

    Afterwards argcomplete treats the command as the program, and completes with the command's parser.
    """
    from argcomplete.lexers import split_line  # only if a shell asks

    words: list[str] = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3]
    start = int(os.environ["_ARGCOMPLETE"])  # words that start the program: 1, or 2 for `python FILE`
    if len(words) <= start:
        return None
    os.environ["_ARGCOMPLETE"] = str(start + 1)
    return words[start]


def _names_for(flag: str, options: argparse.Namespace) -> list[str]:
    """The spaces or runs that a flag takes."""
    if flag in ("space", "background"):
        return [file.name for file in (Path(__file__).parents[2] / "spaces").glob("*.yaml")]
    if flag in _RUNS:
        results = Path(getattr(options, "results", "results"))
        # Named as in ledger/run_folder.py, whose import would make each press of TAB wait for a second.
        return [journal.parent.name for journal in results.glob("*/journal.jsonl")]
    return []


def _unexpected(words: Sequence[str], *, lacks_space: bool) -> str:
    plural = "s" if len(words) > 1 else ""
    remedy = (
        f"a space is named by a flag: --space {words[0]}"
        if lacks_space
        else "a flag that takes several values is repeated for each"
    )
    return f"unexpected argument{plural}: {' '.join(words)}; {remedy}"


def not_empty(text: str) -> str:
    """Text that is not empty: a shell gives "" for a variable that is not set, which would be no limit."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def fraction(text: str) -> float:
    """A number above 0 and below 1."""
    share = float(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and below 1, got {text}")
    return share


def count(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text}")
    return int(text)
