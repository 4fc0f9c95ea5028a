"""The trials of earlier runs, read from their ledgers, and the sampler that learns from them.

A sampler takes scores at face value, so it gets only those on the same data. Runs on other data still show
which of their points ranked well, and these are tried first (`earlier_runs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from search.ledger import Ledger, LedgerError
from search.ledger.history import TrialRecord
from search.output import Output
from search.sampling.designs import designed
from search.sampling.proposal import EarlierTrial, FixedList, Sampler
from search.space import Space
from search.space.record import is_same_code

ENDED = {"finished", "stopped", "paused", "diverged", "failed"}
_MUST_MATCH = ("trainable", "metric", "mode")
_SAME_SCORES = ("data", "validation_subset", "validation_resolution")


def earlier_trials(folders: Sequence[Path], space: Space) -> tuple[list[EarlierTrial], list[str]]:
    """Return every ended trial of these runs on the same data, and what makes their scores hard to compare.

    Raises:
        LedgerError: A folder holds no run, or one with another trainable, metric or mode, or one whose rungs
            are measured in another resource.
    """
    trials: list[EarlierTrial] = []
    notices: list[str] = []
    for folder in folders:
        ledger = Ledger.open(folder)
        before = ledger.read_space()
        _check_same(folder, before, space)
        notices += before.notices
        if other := differing_scores(before, space):
            notices.append(f"{folder} had another {other}: its best points are tried, its scores not used")
            continue
        notices += _differences(folder, before, space)
        history = ledger.read_history()
        trials += [
            as_known(trial, before, space.metric)
            for trial in history.trials.values()
            if trial.status in ENDED
        ]
    return trials, notices


def differing_scores(before: Space, now: Space) -> str:
    """Return, in words, what makes scores of `before` incomparable with those of `now`; empty if nothing."""
    there, here = before.comparable_settings(), now.comparable_settings()
    return " and ".join(name for name in _SAME_SCORES if there[name] != here[name])


def as_known(trial: TrialRecord, before: Space, metric: str) -> EarlierTrial:
    """Return a trial of a run of the space `before`, with its `metric` at each rung that it completed."""
    values = {
        step: value
        for index, step in enumerate(before.ladder.steps)
        if (value := trial.value_at(metric, index)) is not None
    }
    return EarlierTrial(hparams=trial.hparams, values=values, status=trial.status, cause=trial.cause)


def _check_same(folder: Path, before: Space, now: Space) -> None:
    is_same = {name: getattr(before, name) == getattr(now, name) for name in _MUST_MATCH}
    is_same["trainable"] = is_same_code(folder, before.trainable, now.trainable)
    lines = [
        f"  {name}: there {getattr(before, name)}, here {getattr(now, name)}"
        for name in _MUST_MATCH
        if not is_same[name]
    ]
    there, here = before.ladder.resource, now.ladder.resource
    if there != here:  # a sampler orders values by the size of their rung
        lines.append(
            f"  ladder.resource: there {there}, here {here}; values at their rungs cannot be compared"
        )
    if lines:
        raise LedgerError("\n".join([f"{folder} cannot be used to warm-start this space:", *lines]))


def _differences(folder: Path, before: Space, now: Space) -> list[str]:
    if before.comparable_settings()["ladder"] == now.comparable_settings()["ladder"]:
        return []
    return [f"{folder} had another ladder: its scores may not be comparable with this run's"]


def known_trials(space: Space, output: Output) -> list[EarlierTrial]:
    """Return the trials of the runs in `space.warm_start`, and print how many lie in this space."""
    trials, notices = earlier_trials([Path(folder) for folder in space.warm_start], space)
    if space.warm_start:
        if space.is_listed:
            notices.append("search.warm_start: ignored; a list or design learns nothing")
        num_inside = sum(space.contains(trial.hparams) for trial in trials)
        output.print(f"warm start: {num_inside} of {len(trials)} earlier trials lie in this space")
    for notice in notices:
        output.note(notice)
    return trials


def make_sampler(space: Space, known: Sequence[EarlierTrial] = ()) -> Sampler:
    """Return the sampler that `space` asks for, with `known` already learnt.

    A grid is a list too: it learns nothing, and Optuna's own grid cannot be driven to its end by ask and
    tell.
    """
    defaults = space.default_hparams(space.trainable.load())
    if space.is_listed:
        return FixedList(designed(space, defaults))
    if space.scheduler.mode == "freeze_thaw":
        from search.freeze_thaw.sampler import FreezeThawSampler  # scipy.stats, 0.5 s: only for this mode

        return FreezeThawSampler(space, defaults)
    from search.sampling.sampler import OptunaSampler  # Optuna, 1 s: loaded while Ray starts

    sampler = OptunaSampler(space, defaults)
    sampler.warm_start(known)
    return sampler
