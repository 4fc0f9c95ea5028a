"""Which file a space is, and the paths in it: which folder they are relative to, whose code they may name.

A path in a file is relative to the file, so that a space and what it names can be moved together; a path
typed on the command line is relative to the current folder, where the shell completed it.

Code in a run's folder is run only if the command line names it. The folder may have come from another person,
and resuming the run or promoting its trials would start whatever program its `space.yaml` names.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from search.space.errors import Problems, SpaceError, is_within
from search.space.schema import CommandSection
from trainables.core.load import TrainableRef

_JOURNAL = "journal.jsonl"  # marks a folder as a run's, see search/ledger/run_folder.py
_SUFFIXES = (".yaml", ".yml", ".json")  # of space files
_PYTHON = (
    "code that came with a run is not run unless a command names it: read it, and give the file that you "
    "trust with --set search.trainable=PATH, or a --space of your own"
)
_COMMAND = (
    "a program that came with a run is not run unless a command names it: read it, and give --set "
    "search.command.folder=PATH, or a --space of your own"
)


def find_file(source: str | Path, spaces_dir: Path) -> Path:
    """The file a user means: a bare name is in `spaces_dir`; other text, and any `Path`, is a path.

    Raises:
        SpaceError: It is neither, such as a function: the caller expects a search as Ray Tune's. Or it is in
            the home of an unknown user.
    """
    if isinstance(source, Path):
        return source.absolute()
    if not isinstance(source, str):
        needed = "must be a name, a file's path or a mapping whose search.trainable names what is trained"
        raise SpaceError("the space", [f"{needed}, got a {type(source).__name__}"])
    try:
        path = Path(source).expanduser()
    except RuntimeError:
        text = "it begins with ~ and the name of an unknown user; write it in full"
        raise SpaceError(source, [text]) from None
    if "/" in source or path.is_absolute():
        return path
    return spaces_dir / (source if source.endswith(_SUFFIXES) else f"{source}.yaml")


def file_meant(path: Path, spaces_dir: Path) -> str:
    """The end of a message that there is no such file: the one that may be meant.

    Args:
        path: With .yaml added to a word without such a suffix: `study.py` was looked for as study.py.yaml.
    """
    for name in (path.name, path.stem, *(f"{path.stem}{suffix}" for suffix in _SUFFIXES)):
        if Path(name).is_file():
            return f"; for the one in this folder write ./{name}"
    if path.stem and Path(path.stem).is_dir():
        return f"; {path.stem} is a folder: name the file in it"
    if (spaces_dir / path.name).is_file():
        return f"; for the program's own write {path.name}"
    files = sorted(file for file in path.parent.glob("*") if file.suffix in _SUFFIXES)
    names = {file.stem: file.name for file in files}  # with a suffix all names look alike
    if near := difflib.get_close_matches(path.stem, names, n=1):
        return f"; did you mean {names[near[0]]}?"
    return f" (there are {', '.join(names.values())})" if names else ""


def displayed(path: Path) -> str:
    """The path, relative to the current folder if it is below that."""
    absolute, here = path.absolute(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


@contextmanager
def unknown_homes_as(problems: Problems) -> Iterator[None]:
    """Report a path such as `~name/runs`, where no user has that name, as a problem of the file.

    `Path.expanduser` then raises a plain RuntimeError, which only its text distinguishes from others.
    """
    try:
        yield
    except RuntimeError as error:
        if str(error) != "Could not determine home directory.":
            raise
        problems.add("file", "a path in it begins with ~ and the name of an unknown user; write it in full")


def data_folder(key: str, space: Path, overridden: Sequence[str]) -> Path:
    """The folder that the path at `search.data.<key>` is relative to.

    Args:
        space: The space file.
        overridden: Dotted places that the command line set.
    """
    is_typed = any(is_within(f"search.data.{key}", place) for place in overridden)
    return Path.cwd() if is_typed else space.absolute().parent


def trainable_reference(written: str, space: Path, *, is_typed: bool) -> TrainableRef:
    """What `search.trainable` refers to; a user's file by its absolute path, as workers run in other folders.

    Args:
        space: The space file.
        is_typed: The command line named it. Such a path is relative to the current folder if there is such a
            file, and always for a space in a run's folder, so that no typed name finds code there; otherwise
            to the space's folder, as `--set search.trainable=other.py` then means the file beside the space.
    """
    reference = TrainableRef.of(written)
    if reference.path is None:
        return reference
    path = Path(written).expanduser()
    is_here = is_typed and (path.is_file() or _run_of(space) is not None)
    return TrainableRef(path=((Path.cwd() if is_here else space.parent) / path).resolve())


def own_file_hint(written: str, folder: Path) -> str:
    """The end of a message about an unknown trainable, if a Python file of the user's may be meant.

    Args:
        written: The value of `search.trainable`.
        folder: The space's folder.
    """
    if written.endswith(".py"):
        return ""
    if written.endswith(".ipynb"):
        return "; a notebook is not imported: save what it defines as a Python file, and name that"
    module = written.partition(":")[0].removeprefix("./")
    for path in (f"{module}.py", f"{module.replace('.', '/')}.py"):
        if (folder / path).is_file():
            return f"; for the file in this folder write {path if path.startswith('/') else f'./{path}'}"
    return "; a trainable of your own is a Python file, such as ./my_model.py" if "/" in written else ""


def run_folders(written: Sequence[str], space: Path) -> tuple[str, ...]:
    """The absolute folders of the runs under `search.warm_start` or `search.portfolio.runs`."""
    return tuple(str((space.parent / Path(run).expanduser()).resolve()) for run in written)


def check_file(trainable: str, space_folder: Path, problems: Problems) -> None:
    """Report a user's file that is in a run's folder, or that a space in one names by a relative path.

    The second catches a copied run whose space names `../../other.py`: a run's own space.yaml, as written by
    this program, has absolute paths only.
    """
    path = space_folder / Path(trainable).expanduser()
    if run := _run_of(path):
        problems.add("search.trainable", f"{path} is in the folder of the run {run}; {_PYTHON}")
    elif run := _found_from_run(trainable, space_folder):
        problems.add("search.trainable", f"{trainable} is found from the folder of the run {run}; {_PYTHON}")


def check_command(command: CommandSection | None, space_folder: Path, problems: Problems) -> None:
    """Report a command that runs in a run's folder, or whose words name a file in one.

    Args:
        command: None for a sweep file without the section, whose own program would be started.
    """
    if command is None:
        if run := _run_of(space_folder / "space.yaml"):
            problems.add("program", f"it would be looked for in the folder of the run {run}; {_COMMAND}")
        return
    folder = space_folder / Path(command.folder).expanduser()
    if run := _run_of(folder / ".") or _found_from_run(command.folder, space_folder):
        problems.add("search.command.folder", f"{folder} belongs to the folder of the run {run}; {_COMMAND}")
        return
    for key in ("run", "resume", "test"):
        for token in getattr(command, key):
            path = folder / token
            if "/" in token and (run := _run_of(path)) and path.is_file():
                text = f"{path} is in the folder of the run {run}; {_COMMAND}"
                problems.add(f"search.command.{key}", text)


def _found_from_run(path: str, space_folder: Path) -> Path | None:
    """The run whose space names a relative path, which no space.yaml written by this program does."""
    is_relative = not Path(path).expanduser().is_absolute()
    return _run_of(space_folder / "space.yaml") if is_relative else None


def _run_of(path: Path) -> Path | None:
    """The run whose folder contains a file, by its path as written or with symbolic links resolved."""
    for one in (path.absolute(), path.resolve()):
        for folder in one.parents:
            if (folder / _JOURNAL).is_file():
                return folder
    return None
