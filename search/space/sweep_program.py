"""A W&B sweep file with its own program: what is run, and what the file leaves open."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from search.space.errors import Problems, did_you_mean, listed, shown
from search.space.parameters import Choice, Fixed, Integer, Parameter, Real, is_number, middle
from search.space.schema import SearchSection, SweepFile
from trainables.command.template import FORMS, escaped

# A script that trains as long as it likes is compared after this many scores, and ends when it ends.
OPEN_EPOCHS = [1, 3, 9, 27, 81]
# What scripts call their epochs, also in a group, as `trainer.max_epochs`, but not epochs of warm-up.
_EPOCHS = re.compile(r"(?!.*warm)(.*[./])?((n|num|max|train|total|num_train)[_-]?)?epochs?")
_USUAL = ("${env}", "${interpreter}", "${program}", "${args}")
_WORD = re.compile(r"\$\{(\w+)\}")


def is_command(file: SweepFile, section: SearchSection) -> bool:
    """Whether a script is trained: one under `search.command`, or the own program of a sweep file.

    A sweep file with `program:` to which a user added `search.trainable` or `search.data` is a search over
    that trainable, and a notice says that the program is ignored.
    """
    is_open = "trainable" not in section.model_fields_set and section.data is None
    return section.trainable == "command" or (is_open and file.has_program)


def is_of_sweep(file: SweepFile, section: SearchSection) -> bool:
    """Whether that script is the sweep file's own program, rather than one under `search.command.run`."""
    return is_command(file, section) and not (section.command and section.command.run)


def run_of_sweep(program: Any, command: Any, problems: Problems) -> tuple[str, ...]:
    """The words of `search.command.run` that act as W&B's agent does; empty, with a problem, if invalid.

    `${env}` is /usr/bin/env, `${interpreter}` the Python that runs the search; `${args}` and its like stay as
    they are, and a command without any of them passes no hyperparameter, as with the agent. Placeholders such
    as `{epochs}` work here too.
    """
    words = list(_USUAL) if command is None else command
    if not isinstance(words, list) or not words:
        problems.add("command", f"must be a list of words such as {list(_USUAL)}, got {shown(command)}")
        return ()
    if program is not None and not isinstance(program, str):
        problems.add("program", f"must be a script's path, got {shown(program)}")
        return ()
    if "${program}" in words and program is None:
        problems.add("program", "is missing; write program: train.py")
        return ()
    known = {"env": "/usr/bin/env", "interpreter": "{python}", "program": escaped(program or "")}
    run = []
    for word in map(str, words):
        name = found[1] if (found := _WORD.fullmatch(word)) else None
        part = _WORD.search(word)
        if name is None and part and part[1] in (*known, *FORMS):
            problems.add("command", f"{part[0]} in {word!r} must be a word of its own")
        elif name in known:
            run.append(known[name])
        elif name in FORMS or name is None:
            run.append(word if name else escaped(word))
        else:
            others = [f"${{{other}}}" for other in (*known, *FORMS)]
            problems.add("command", f"{word} is not known{did_you_mean(word, others)}")
    if problems.concern("command"):
        return ()
    has_args = any(word in words for word in (f"${{{form}}}" for form in FORMS))
    return (*run, *(() if has_args else ("${no_args}",)))


def folder_of_sweep(program: Any, folder: Path) -> Path:
    """The program's folder: the file's, or else the current one, where W&B's agent would be started."""
    is_here = isinstance(program, str) and not (folder / program).exists() and Path(program).exists()
    return (Path.cwd() if is_here else folder).absolute()


def args_of_sweep(entries: Mapping[str, Parameter | Fixed]) -> tuple[str, ...]:
    """Parameters with a single number that are placeholders of a command, such as `epochs: {value: 10}`.

    The script gets them among its hyperparameters, as from W&B's agent, but with the ladder's epochs and each
    training's own seed. With several values, or text, they are hyperparameters like any other.
    """
    values = {name: _values_of(entries.get(name)) for name in ("epochs", "seed")}
    return tuple(name for name, given in values.items() if len(given) == 1 and is_number(given[0]))


def epochs_of_sweep(entries: Mapping[str, Parameter | Fixed]) -> list[int]:
    """The ladder's epochs for a sweep file that has none: up to its own epochs, or open."""
    top = top_of_sweep(entries)
    return OPEN_EPOCHS if top is None else sorted({max(1, top // 9), max(1, top // 3), top})


def top_of_sweep(entries: Mapping[str, Parameter | Fixed]) -> int | None:
    """The most epochs that a sweep file's own parameters give, by whatever name; None if they give none."""
    named = [entry for name, entry in entries.items() if _EPOCHS.fullmatch(name.lower())]
    top = round(max(filter(is_number, (value for entry in named for value in _values_of(entry))), default=0))
    return top if top >= 1 else None


def _values_of(entry: Parameter | Fixed | None) -> Sequence[Any]:
    """The value, the values or the ends of an entry; empty if it has none."""
    match entry:
        case Fixed():
            return [entry.value]
        case Choice():
            return entry.values
        case Real() | Integer():
            return entry.ends
    return []


def middles(entries: Mapping[str, Parameter | Fixed], given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of trial 0 that a sweep file does not give: the middle of each range, on its own scale."""
    passed = (*given, *args_of_sweep(entries))
    return {
        name: middle(entry)
        for name, entry in entries.items()
        if name not in passed and not isinstance(entry, Fixed)
    }


def program_notices(
    entries: Mapping[str, Parameter | Fixed], given: Mapping[str, Any], *, has_ladder: bool
) -> Iterator[str]:
    """Yield what was chosen for what a sweep file leaves open."""
    if chosen := middles(entries, given):
        yield (
            "search.command.defaults: not given; trial 0, which the others are compared with, has the middle "
            f"of the range for {listed(list(chosen))}"
        )
    if isinstance(entries.get("seed"), Parameter) and "seed" not in args_of_sweep(entries):
        yield (
            "parameters.seed: searched like any other, so a lucky seed may win; with one value it is each "
            "training's own"
        )
    if has_ladder:
        return
    epochs = epochs_of_sweep(entries)
    if epochs is OPEN_EPOCHS:
        yield (
            f"search.ladder: not given; trials are compared after {listed([str(each) for each in epochs])} "
            f"epochs, and end when their script does, or after {epochs[-1]}"
        )
    else:
        yield f"search.ladder: not given; up to the file's own epochs, {epochs}"
