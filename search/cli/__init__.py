"""The commands. Importing this loads the standard library only, so that `--help` answers at once."""
# PYTHON_ARGCOMPLETE_OK: argcomplete looks for this in the module of an installed command

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

COMMANDS = {
    "search": "search a space within a budget, rank its trials and measure their energy",
    "slurm": "run a search as a Slurm job, over as many time limits as it takes",
    "promote": "train the best trials of a run in full, and compare them with the default on the test set",
    "train": "train or check one configuration in this process",
    "preflight": "check what a search will need, and fetch weights",
    "report": "write the page of a run, or one that compares two",
    "ui": "show all runs of a folder in a browser, live",
    "predict": "print what a trained model predicts for images",
    "export-model": "write a trained model as an ONNX file",
    "ship": "send what only this machine has of a run to its bucket",
    "fetch": "fetch a whole run from its bucket into a folder",
    "export": "write a run for Optuna, W&B, TensorBoard or MLflow",
    "check": "check a run's record, and repair it",
    "check-energy": "check that a run's energy tables add up",
    "init-script": "write a space for your own training script, from its flags",
    "new": "write a trainable to start from, with its space and test",
}
_MODEL_COMMANDS = ("predict", "export-model")
_NEEDED_BY_MODELS = ("torch", "torchvision", "timm", "safetensors")
_NEEDED = (
    "pydantic",
    "aiohttp",
    "ruamel.yaml",
    "rich",
    "optuna",
    "ray",
    "torch",
    "torchvision",
    "timm",
    "torchmetrics",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the subcommand of jouletune that comes first, and return its exit status."""
    try:
        return _main(arguments)
    except BrokenPipeError as error:
        return _unread(error)


def _main(arguments: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "_ARGCOMPLETE" in os.environ:
        words = _words_to_complete()
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        return 0 if words else 2
    command, *rest = words
    if command in ("-V", "--version"):
        print(f"jouletune {_version()}")
        return 0
    if command not in COMMANDS:
        from trainables.core.suggest import suggest  # only for a mistake

        mistake = f"there is no command {command}{suggest(command, COMMANDS)}"
        print(f"jouletune: error: {mistake} (--help lists them)", file=sys.stderr)
        return 2
    return run(command, rest, prog=f"jouletune {command}")


def run(command: str, arguments: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 a run that failed, 2 unusable input,
    3 a run that the disk ended, 4 one that lost Ray, 130 ended at once by a second Ctrl-C.

    What a user can fix is one message on stderr, without a traceback. Output that nobody reads, as with
    `| head`, gives 141, which a shell reports for any other program.

    Args:
        prog: The name it was called by; None means that of the script.
    """
    try:
        return _run(command, arguments, prog=prog)
    except BrokenPipeError as error:
        return _unread(error)


def _unread(error: BrokenPipeError) -> int:
    """Return the exit status for a standard output that nobody reads any longer, without a message.

    Standard output is redirected, because Python flushes it at exit.

    Raises:
        BrokenPipeError: It was another pipe or socket that broke.
    """
    from search.output import has_no_reader  # rich, for the rare case

    if not has_no_reader(sys.stdout.fileno()):
        raise error
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13  # SIGPIPE


def _run(command: str, arguments: Sequence[str] | None, *, prog: str | None) -> int:
    needed = _NEEDED_BY_MODELS if command in _MODEL_COMMANDS else _NEEDED
    if missing := [name for name in needed if not _is_installed(name)]:
        python = sys.executable or "this Python"
        print(
            f"jouletune: {python} lacks {', '.join(missing)}; make the environment with `make setup` in the "
            f"project's folder and use its .venv/bin/python",
            file=sys.stderr,
        )
        return 2
    name = command.replace("-", "_")
    module = importlib.import_module(f"search.cli.{name}")
    parser = module.parser(prog or f"{name}.py")
    from search.cli.parser import complete  # argparse, 10 ms that an unmet import need not cost

    complete(parser)
    options = parser.parse_args(arguments)
    if command in _MODEL_COMMANDS:  # does without the search, and prints its own errors
        return _run_alone(module.main, options)
    # Both load pydantic, which --help does without.
    from search.errors import USER_ERRORS, SearchInterrupted, UserError, exit_status
    from search.printable import printable

    try:
        status: int = module.main(options)
        sys.stdout.flush()
    except BrokenPipeError:  # an OSError too, and no error of a disk
        raise
    except UserError as error:
        print(printable(str(error)), file=sys.stderr)
        return error.status
    except USER_ERRORS as error:
        print(printable(str(error)), file=sys.stderr)
        return exit_status(error)
    except SearchInterrupted:
        return 130
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return status


def _words_to_complete() -> list[str]:
    """The command whose flags a shell asks about; if it asks for the command itself, answer and exit."""
    from search.cli.parser import CommandParser, complete, completed_command  # only if a shell asks

    if (command := completed_command()) is None:
        commands = CommandParser(prog="jouletune", description="", epilog="")
        commands.add_argument("command", choices=list(COMMANDS))
        complete(commands)
    return [command] if command in COMMANDS else ["--help"]


def _run_alone(main: Callable[[Any], int], options: Any) -> int:
    """Run a command that prints all its errors itself."""
    try:
        status = main(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return 130


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: jouletune COMMAND ...",
            "",
            *lines,
            "",
            "jouletune COMMAND --help shows its flags and examples; jouletune --version the version.",
        ]
    )


def _version() -> str:
    """The version of the checkout, or of the installation if there is no checkout."""
    import tomllib  # only for --version
    from importlib.metadata import version

    project = Path(__file__).parents[2] / "pyproject.toml"
    if not project.is_file():
        return version("jouletune")
    return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent of a dotted name
        return False
