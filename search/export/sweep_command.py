"""A script's command in the words of a W&B sweep file."""

from __future__ import annotations

from typing import Any

from search.space import Space
from trainables.command.template import PLACES, filled, form_of, places, variables
from trainables.core.data_source import data_text

_USUAL = ["${env}", "${interpreter}", "${program}", "${args}"]
_WORDS = {"/usr/bin/env": "${env}", "{python}": "${interpreter}"}
_NO_ARGS = "${no_args}"  # a word of ours, not of W&B's: no arguments are passed


def command_keys(space: Space) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """`program` and `command`, the parameters that fill places, and a sentence for each thing W&B cannot do.

    Places have the values of a training at the top rung. A place for one hyperparameter has no equivalent in
    W&B, which passes all by `${args}`.
    """
    description = space.trainable.command
    if description is None:
        return {"program": "train.py"}, {}, []  # a program that is still to be written
    run, values = list(description["run"]), _values(space)
    words, notes = _without_hyperparameters(run)
    if "checkpoint_dir" in places(words):
        notes.append("{checkpoint_dir} is the folder checkpoint for all runs; give each its own")
    if description["flags"]:
        notes.append(f"left out: the flags of {', '.join(description['flags'])}; W&B's are --NAME=VALUE")
    if not any(map(form_of, run)):
        words.append("${args_no_boolean_flags}")
    program = next((word for word in words if word.endswith((".py", ".sh"))), None)
    environment = {name: f"${{envvar:{name}}}" for name in variables(run)}
    command = [
        "${program}" if word == program else _WORDS.get(word) or _filled(word, values, environment)
        for word in words
        if word != _NO_ARGS
    ]
    keys = {"program": program} if program else {}
    with_args = {name: {"value": values[name]} for name in description["with_args"]}
    return keys if command == _USUAL else {**keys, "command": command}, with_args, notes


def _values(space: Space) -> dict[str, Any]:
    """The values of a command's places in a full training."""
    top, seed = space.ladder.top, space.training.seed
    return {
        "epochs": top.epochs,
        "until": top.epochs,
        "subset": top.subset or 1.0,
        "resolution": top.resolution,
        "seed": seed,
        "data_seed": seed,
        "data": data_text(space.data),
        "device": "cuda" if space.resources.gpus_per_trial else "cpu",
        "checkpoint_dir": "checkpoint",
        "python": _WORDS["{python}"],
    }


def _filled(word: str, values: dict[str, Any], environment: dict[str, str]) -> str:
    return word if form_of(word) else "".join(filled([word], values, environment))


def _without_hyperparameters(run: list[str]) -> tuple[list[str], list[str]]:
    """The words without those that have a hyperparameter's place, nor the flags before these; and a note for
    each one left out."""
    words: list[str] = []
    notes = []
    for word in run:
        if names := places([word]) - set(PLACES):
            flag = (
                words.pop()
                if word == f"{{{min(names)}}}" and words[-1:] and words[-1].startswith("-")
                else ""
            )
            notes.append(
                f"left out: {f'{flag} {word}'.strip()} in run; W&B passes {min(names)} with the others"
            )
        else:
            words.append(word)
    return words, notes
