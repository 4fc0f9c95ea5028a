"""The conclusions from a run, as sentences. Pure.

Each sentence claims what its numbers support and no more. What a search found was chosen for its score, so
the difference from the default is given but not called a gain; gains come from promotions, on fresh seeds.
Rank correlations are trusted only where the whole interval is at 0.5 or above, and doubted only where the
value is below that and the interval ends below 0.8.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean

from search.command_lines import typed_command
from search.guessing import NO_BETTER, REMEDY
from search.ledger.history import TrialRecord
from search.printable import counted
from search.promotion import chosen
from search.report.formatting import duration, hparams_text, kwh_text, mean_text, value_text
from search.report.gain import default_of, gain_sentence, guessing_text
from search.report.page.bounds import bound_sentence
from search.report.page.run_data import RunData
from search.report.unmeasured import energy_note
from search.run.flatness import FLAT, flat_reason

_OPEN = "too few"  # prefix of the warnings whose interval is too wide to decide
# A best trial in the last quarter of a search came late, which happens by chance once in four times, so it is
# advice and not a warning. With fewer than eight trials a quarter is one trial.
_LATE_SHARE, _FEWEST_FOR_LATE = 0.75, 8


def conclusion(run: RunData) -> list[str]:
    """What is best, and whether it is better than the default: sentences, the most important first.

    After a promotion its gain leads, as it is the only unbiased figure. Before one, these are the best of the
    search, a warning if it is no better than guessing, and the default at the same rung.
    """
    promoted = run.promotion.winner if run.promotion else None
    if promoted is not None:
        default = default_of(run.promotion.rows) if run.promotion else None
        return [gain_sentence(promoted, run.space, default), *_best_of_search(run)]
    return _best_of_search(run) + _guessing_warning(run) + _against_default(run)


def ending(run: RunData) -> str:
    """Which limit ended the run, or that it has not ended.

    A killed run and a running one look alike in the journal: neither has an end. So the page names both.
    """
    if run.history.ended is None:
        return "The run is still going, or was killed: its journal has no end yet."
    return f"The run ended: {run.history.ended}."


def rank_correlation_sentence(run: RunData) -> str:
    """Whether cheap scores can be trusted: whether lower rungs ranked trials like higher ones.

    Three answers, because the absence of a warning proves nothing: yes, if every interval lies at 0.5 or
    above; in doubt, if some correlation is below 0.5 and its interval ends below 0.8; else open.
    """
    if len(run.space.ladder.rungs) < 2:
        return "There is one rung, so no cheap score had to be trusted."
    known = [each for each in run.rung_correlations if each.overall is not None]
    if not known:
        return "Too few trials completed two rungs to tell whether cheap scores can be trusted."
    warnings = [each.warning for each in known if each.warning]
    if not warnings and all(each.is_sure for each in known):
        return "Cheap scores can be trusted here: lower rungs ranked trials like the rungs above them."
    if not warnings:
        return "Whether cheap scores can be trusted is open: no rung looks wrong, but the intervals are wide."
    is_open = all(warning.startswith(_OPEN) for warning in warnings)
    lead = "Whether cheap scores can be trusted is open" if is_open else "Cheap scores are in doubt"
    return f"{lead}: {'; '.join(warnings)}."


def advice(run: RunData) -> list[str | tuple[str, str]]:
    """What to try next, the most useful first: a promotion or more seeds, wider ranges, then what the history
    of the search suggests. Each is a text, or a text and its command."""
    return list(_advice(run)) or [
        "Nothing in particular: no bound of a range was reached, and nothing failed."
    ]


def _advice(run: RunData) -> Iterator[str | tuple[str, str]]:
    """The advice as it applies. Commands are complete and quoted, to be pasted into a shell.

    Seeds are doubled, to at least five: the interval of a gain shrinks with their square root, and with two
    seeds Student's factor alone is 12.7 (with five, 2.8).
    """
    place = run.ledger.address
    promoted = run.promotion.winner if run.promotion else None
    if run.best is None:
        yield "No trial has a score: see the failures below first."
    elif promoted is None:
        yield (
            "Train the best in full beside the default, with fresh seeds, to know whether the gain is real:",
            typed_command("promote", place, "--top", run.space.promote.top),
        )
    elif str(promoted["conclusion"]).startswith(NO_BETTER):
        yield REMEDY[0].upper() + REMEDY[1:] + "."
    elif str(promoted["conclusion"]).startswith(("tie", "one seed", "no interval")):
        num_seeds, top = max(5, 2 * promoted["num_seeds"]), _top_with(run, promoted["trial_id"])
        again = typed_command("promote", place, "--top", top, "--seeds", num_seeds)
        yield "More seeds narrow the interval:", again
    if run.best is not None:
        for name, edge in run.reached_bounds.items():
            at = value_text(run.best.hparams[name])
            yield f"{bound_sentence(name)} ({name}={at}, the {edge} bound)"
    yield from _history_advice(run)


def _top_with(run: RunData, winner: str) -> int:
    """How many of the best must be promoted to include the winner, which need not be the search's best."""
    order = [trial.trial_id for trial in chosen(run.history, run.space, top=len(run.trials))]
    return order.index(winner) + 1 if winner in order else run.space.promote.top


def _history_advice(run: RunData) -> Iterator[str]:
    """What the trials themselves suggest: more of them, other rungs, fewer failures, a sensor.

    Warnings that begin with "too few" are left out: an open question is no reason to change the rungs.
    """
    num_trials = len(run.trials)
    best = run.best
    flat = flat_reason(run.history.gains, run.metric)
    if flat:
        yield f"{FLAT.capitalize()}: {flat}. A wider space may hold more than further trials of this one."
    elif best is not None and num_trials >= _FEWEST_FOR_LATE and best.number >= _LATE_SHARE * num_trials:
        yield (
            f"The best trial was number {best.number + 1} of {num_trials}: it came late, so more trials "
            f"(--trials {2 * num_trials} with the same --name) may find a better one."
        )
    warnings = [each.warning for each in run.rung_correlations if each.overall and each.warning]
    yield from (f"Check the rungs: {text}" for text in warnings if not text.startswith(_OPEN))
    causes = Counter(trial.cause for trial in run.trials if trial.status in ("failed", "diverged"))
    if causes:
        counts = ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
        yield f"{sum(causes.values())} of {num_trials} trials failed or diverged ({counts}): see Failures."
    if run.spent_j is None and run.trials:
        yield "Joules are unknown: see Energy."


def _best_of_search(run: RunData) -> list[str]:
    """The trial that ranks first with its score, its rung, and the hparams that were searched or differ."""
    best = run.best
    if best is None:
        return ["No trial has a score."]
    configuration = run.configurations[0]
    hparams = hparams_text(best.hparams, run.shown_hparams)
    return [
        f"Best of the search: {_named(best)} with {run.metric} {mean_text(configuration)} at "
        f"{run.rung_name(configuration.rung)}{': ' + hparams if hparams else ''}."
    ]


def _guessing_warning(run: RunData) -> list[str]:
    """A warning if the best is no better than guessing."""
    found = run.against_guessing
    if found is None or found.is_better is not False:
        return []
    return [f"The best is {guessing_text(found, run.space)}.", REMEDY[0].upper() + REMEDY[1:] + "."]


def _against_default(run: RunData) -> list[str]:
    """The best beside the default within the search: few seeds, and the best was chosen for its score."""
    best, default = run.best, run.default
    if best is None or default is None:
        return []
    if best.proposed_by == "default":
        return ["That is the default configuration: no searched one beats it."]
    if run.beside_default is not None:
        return [_difference(run, *run.beside_default)]
    if any(trial.rung is not None for trial in run.trials if trial.proposed_by == "default"):
        return ["The two have no score at the same rung, so they cannot be compared."]
    return ["The default configuration has no score to compare with."]


def _difference(run: RunData, rung: int, ours: Sequence[float], its: Sequence[float]) -> str:
    """The sentence of `_against_default`, which says how many seeds each side has."""
    mine, other = fmean(ours), fmean(its)
    seeds = (
        "one seed each" if len(ours) == len(its) == 1 else f"the means of {len(ours)} and {len(its)} seeds"
    )
    return (
        f"At {run.rung_name(rung)} the default configuration has {value_text(other)} and the best "
        f"{value_text(mine)}: {mine - other:+.4g}, from {seeds}; the best was "
        f"chosen for its score, so this is not yet a gain."
    )


def spent_text(run: RunData) -> str:
    """What the run took: "24 trials (20 stopped, 4 finished) in 1:40, 0.0123 kWh (44280.0 J)"."""
    joules = run.spent_j
    energy = "energy unknown" if joules is None else f"{kwh_text(joules)} ({joules:.1f} J)"
    energy += energy_note(run.trials)
    counts = Counter(trial.status for trial in run.trials)
    states = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none started yet"
    worth = run.space.limits.tariff.text(joules)
    line = f"{counted(len(run.trials), 'trial')} ({states}) in {duration(run.seconds)}, {energy}"
    return ", ".join(filter(None, (line, worth)))


def _named(trial: TrialRecord) -> str:
    return trial.trial_id + (" (the default)" if trial.proposed_by == "default" else "")
