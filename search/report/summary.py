"""The last lines of a run: why it ended, the best trials, where the files are, and the next command.

They come in the order in which they scroll away: tables first, then warnings, and last the line that is still
visible at the end, with the best trial, followed by the command that shows whether its gain is real.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from search.accounting.spending import infeasible_text, outcomes_text, without_end_text
from search.command_lines import typed_command
from search.duplicate_curves import trials_with_one_curve
from search.energy.units import to_joules
from search.guessing import NO_BETTER, REMEDY, against_guessing
from search.output import Output
from search.printable import counted
from search.rank_correlation import Correlation, rung_correlations
from search.report.failures import print_failures
from search.report.forecast import kept_forecast, outcome_text
from search.report.formatting import (
    DECIDERS,
    duration,
    kwh_text,
    mean_text,
    objective_texts,
    varied_text,
)
from search.report.gain import default_of, gain_sentence, guessing_text
from search.report.portfolio import portfolio_sentence
from search.report.unmeasured import energy_note, no_energy_text
from search.run import Run
from search.run.objective import pareto_front
from search.space import Space

_WIDTH_WITH_EPOCHS = 100
_TOP = 5  # configurations in the table; trials.csv has all
_UNITS = {"energy": "J of full training", "energy_per_example": "J per example"}


def print_summary(run: Run, output: Output) -> None:
    """Print what a search found and took, except for its last two lines, which follow all other output."""
    space = run.space
    _print_top(run, output)
    if space.beside:
        _print_front(run, output)
    statuses = Counter(trial.status for trial in run.history.trials.values())
    counts = ", ".join(f"{count} {status}" for status, count in statuses.items())
    _print_rank_correlations(run, output)
    _print_deciders(run, output)
    if line := portfolio_sentence(list(run.history.trials.values()), space):
        output.print(line)
    _print_duplicate_curves(run, output)
    spent = run.spent
    energy = "energy unknown" if spent.energy_j is None else kwh_text(spent.energy_j)
    energy += energy_note(run.history.trials.values())
    worth = space.limits.tariff.text(spent.energy_j)
    line = (
        f"{counted(len(run.history.trials), 'trial')} ({counts}) in {duration(spent.hours * 3600)}, {energy}"
    )
    output.print(", ".join(filter(None, (line, worth))))
    if spent.energy_j is not None:
        output.print(space.limits.tariff.basis)
    if forecast := kept_forecast(run.ledger, run.space.limits):
        epochs = sum(len(trial.rows) for trial in run.history.trials.values())
        output.print(outcome_text(forecast, epochs=epochs, spent=spent))
    if infeasible := infeasible_text(run.history, space.constraints):
        output.print(infeasible)
    if outcomes := outcomes_text(run.history):
        output.print(f"energy by outcome: {outcomes}")
    if line := without_end_text(run.history):
        output.print(line)
    if spent.kwh is None:
        output.note(f"no energy: {no_energy_text(run.history.trials.values())}")
    rerun = typed_command("search", "--rerun-failed", run.ledger.address)
    print_failures(run, output, again=f"run them again: {rerun}")


def print_winner(run: Run, reason: str, output: Output) -> None:
    """Print the last two lines: why the search ended and its best trial, then the command that comes next.

    Args:
        reason: Why it ended, such as "all 24 trials done".
    """
    space, order = run.space, run.ranking.configurations()
    if not order:
        output.print(f"ended: {reason}   no trial has a score")
        return
    best = order[0]
    found = against_guessing(space, best, num_compared=len(order))
    if found and found.is_better is False:
        output.warn(f"{best.first.trial_id} is {guessing_text(found, space)}; {REMEDY}")
    output.print(
        f"ended: {reason}   best: {best.first.trial_id}, {space.metric} {mean_text(best)}"
        f"   files: {run.ledger.folder}",
    )
    output.print(f"next: {typed_command('promote', run.ledger.address, '--top', space.promote.top)}")


def print_promotion(
    rows: Sequence[Mapping[str, Any]], winner: Mapping[str, Any] | None, space: Space, output: Output
) -> None:
    """Print the promoted configurations with their test scores and gains over the default, and the
    conclusion.

    Args:
        rows: The rows of promoted.csv, the best on validation first.
        winner: The one that the conclusion is about; None if no searched configuration has a score.
    """
    plain = space.metric.removeprefix("val_")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("rank", "trial", "seeds", f"test, {plain}", "gain over the default", "time", "energy"):
        table.add_column(column)
    for row in rows:
        table.add_row(
            str(row["rank"]),
            row["trial_id"] + (" (default)" if row["is_default"] else ""),
            str(row["num_seeds"]),
            _interval_text(row, "test"),
            _gain_text(row),
            duration(row["seconds"]),
            "-" if row["energy_j"] is None else f"{row['energy_j']:.1f} J",
        )
    output.print(table)
    for reason in dict.fromkeys(row["energy_reason"] for row in rows if row["energy_reason"]):
        output.print(f"no joules: {reason}", style="dim")
    if winner is None:
        output.print("no searched configuration finished a training, so none can be compared")
        return
    output.print(gain_sentence(winner, space, default_of(rows)))
    if str(winner["conclusion"]).startswith(NO_BETTER):
        output.print(f"next: {REMEDY}")


def _gain_text(row: Mapping[str, Any]) -> str:
    """The gain with its interval, then the conclusion: "0.0120  (0.0030 to 0.0210)  better"."""
    gain = "" if row["gain_mean"] is None else _interval_text(row, "gain")
    outcome = str(row["conclusion"] or "")
    if outcome.startswith(NO_BETTER):
        outcome = outcome.replace(NO_BETTER, f"{NO_BETTER} ({row['guessing']:.2g})")
    return "  ".join(filter(None, (gain, outcome)))


def _interval_text(row: Mapping[str, Any], prefix: str) -> str:
    """A mean with its interval: "0.9512  (0.9400 to 0.9600)"; a dash if it is unknown.

    Args:
        prefix: The prefix of its columns, "test" or "gain".
    """
    mean, low, high = (row[f"{prefix}_{end}"] for end in ("mean", "low", "high"))
    if mean is None:
        return "-"
    return f"{mean:.4f}" if low is None else f"{mean:.4f}  ({low:.4f} to {high:.4f})"


def _print_top(run: Run, output: Output) -> None:
    """Print the best configurations, and how they are ranked if they are of different rungs.

    Time and energy are sums over all repeats; the energy is a dash if the joules of one are unknown.
    """
    space, shown = run.space, run.ranking.configurations()[:_TOP]
    joules = [to_joules(each.energy_mj) for each in shown]
    has_joules = any(one.energy.total_mj is not None for each in shown for one in each.trials)
    table = Table(box=None, pad_edge=False, header_style="dim")
    # In 80 columns a pair such as weight_decay=0.001494 would be folded; rungs say much the same as epochs.
    has_epochs = output.console.width >= _WIDTH_WITH_EPOCHS
    columns = ["rank", "trial", space.metric, "rung", *(["epochs"] * has_epochs), "time"]
    for column in (*columns, *(["energy"] * has_joules)):
        table.add_column(column, no_wrap=True)
    table.add_column("hparams", overflow="fold")
    for rank, (each, used_j) in enumerate(zip(shown, joules, strict=True), start=1):
        trial, energy = each.first, "-" if used_j is None else f"{used_j:.1f} J"
        table.add_row(
            str(rank),
            trial.trial_id + (" (default)" if trial.proposed_by == "default" else ""),
            mean_text(each),
            str(each.rung),
            *([str(trial.epochs)] * has_epochs),
            duration(sum(one.seconds for one in each.trials)),
            *([energy] * has_joules),
            varied_text(trial, space, run.history),
        )
    output.print(table)
    if len({each.rung for each in shown}) > 1:
        why = "scores of different rungs cannot be compared"
        output.print(f"ranked by the highest completed rung, then by {space.metric}: {why}", style="dim")


def _print_front(run: Run, output: Output) -> None:
    """Print the trials that no other one beats in all objectives."""
    space = run.space
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("front", *(_UNITS.get(name, name) for name in space.objective), "hparams"):
        table.add_column(column)
    for trial, values in pareto_front(space, list(run.history.trials.values())):
        hparams = varied_text(trial, space, run.history)
        table.add_row(trial.trial_id, *objective_texts(values), hparams)
    lacking = f"front: no trial has a value for each of {', '.join(space.objective)}"
    output.print(table if table.row_count else lacking)


def _print_rank_correlations(run: Run, output: Output) -> None:
    """Print how well each rung's ranking agrees with the next rung's, if enough trials completed both."""
    space = run.space
    trials = list(run.history.trials.values())
    for each in rung_correlations(trials, space.metric, space.mode, num_rungs=len(space.ladder.rungs)):
        if each.overall is None:
            continue
        half = f"; better half {_correlation_text(each.better_half)}" if each.better_half else ""
        number = each.num_control_trials
        control = f" ({counted(number, 'control trial')})" if number else ""
        output.print(
            f"rung {each.rung} against rung {each.rung + 1}, {each.num_trials} trials{control}: "
            f"Spearman {_correlation_text(each.overall)}{half}",
        )
        if each.warning:
            output.warn(each.warning)


def _print_deciders(run: Run, output: Output) -> None:
    """Print what made the decisions and how well the model of learning curves predicts, if there is one."""
    if (trust := run.trust) is None:
        return
    made = Counter(event["decided_by"] for event in run.ledger.events() if "decided_by" in event)
    counts = ", ".join(f"{DECIDERS[name]} {count}" for name, count in made.most_common())
    line = f"decisions: {counts}; ranks make {trust.share_of_ranks:.0%} of those left to ranks and model"
    if trust.losses is not None:
        by_ranks, by_model = (1 - loss for loss in trust.losses)
        line += f", whose rank correlations with the outcome are {by_ranks:.2f} and {by_model:.2f}"
    output.print(line)
    if num := trust.num_foreseen:
        output.print(f"the model's 80 % intervals contained {trust.num_covered} of the {num} observed values")


def _print_duplicate_curves(run: Run, output: Output) -> None:
    """Warn of hyperparameters without effect, as identical curves prove."""
    for group in trials_with_one_curve(run.history.trials.values(), run.space.metric):
        output.warn(group.warning)


def _correlation_text(correlation: Correlation) -> str:
    """ "0.81 (0.55 to 0.93)"."""
    return f"{correlation.value:.2f} ({correlation.low:.2f} to {correlation.high:.2f})"
