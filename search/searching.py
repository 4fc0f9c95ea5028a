"""A search from a checked space: what earlier runs know, the sampler, the launch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console as RichConsole

from search.launch import Launch, launch
from search.run import Run
from search.sampling.proposal import EarlierTrial, Sampler
from search.space import Space


def known_trials(space: Space, output: RichConsole) -> list[EarlierTrial]:
    """What the runs of `space.warm_start` know, with a line that says how much of it fits."""
    from search.sampling.warm_start import earlier_trials

    trials, notices = earlier_trials([Path(folder) for folder in space.warm_start], space)
    if space.warm_start:
        if space.is_listed:
            notices.append("search.warm_start: ignored; a list or design learns nothing")
        num_fitting = sum(space.contains(trial.hparams) for trial in trials)
        output.print(f"warm start: {num_fitting} of {len(trials)} earlier trials lie in this space")
    for notice in notices:
        output.print(f"note: {notice}", style="yellow", soft_wrap=True)
    return trials


def launch_search(
    space: Space, how: Launch, known: Sequence[EarlierTrial], output: RichConsole
) -> tuple[Run, str]:
    """Run `space` to its end with the sampler it asks for: what `launch` gives, and raises."""

    return launch(space, how, make_sampler=sampler_maker(known), output=output)


def sampler_maker(known: Sequence[EarlierTrial]) -> Callable[[Space], Sampler]:
    """What makes the sampler that a space asks for, with `known` taken in."""

    def made(space: Space) -> Sampler:
        from search.sampling.sampler import make_sampler  # Optuna, loaded while Ray starts

        return make_sampler(space, default_hparams(space), known)

    return made


def default_hparams(space: Space) -> dict[str, Any]:
    """The default configuration of the space's trainable, with the space's fixed values."""
    from trainables.core.load import load_trainable

    return space.default_hparams(load_trainable(space.trainable))
