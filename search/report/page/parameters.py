"""The effect of the searched parameters: importance, a slice for each, a map of two, parallel coordinates.

They answer three questions in this order: which parameters matter at all, where in its range each parameter
is good, and which combinations are. None of them is causal: a sampler tries good regions more often, so a
parameter that follows another also looks important.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from search.ledger.history import TrialRecord
from search.report.charts.chart import Chart, Scale, bar_chart, evenly, shortened
from search.report.page.bounds import bound_sentence
from search.report.page.contour import contour
from search.report.page.elements import Element, Section, Text
from search.report.page.parallel import parallel
from search.report.page.run_data import RunData
from search.report.page.slices import slice_of

# Trials on which the forest behind the importance is grown, spaced evenly over the ranks: its time grows with
# the square of their number.
_MOST_ANALYSED = 500


def parameters_section(run: RunData) -> Section:
    """How the score depends on the parameters; a sentence if there is nothing to see."""
    if not run.shown_hparams:
        none = "No hyperparameter differs between the trials."
        return Section(key="parameters", title="Parameters", elements=[Text(text=none)])
    if len(run.ranked) < 2:
        none = f"{len(run.ranked)} of {len(run.trials)} trials have a score; a comparison needs two."
        return Section(key="parameters", title="Parameters", elements=[Text(text=none)])
    slices = [slice_of(run, name) for name in run.shown_hparams]
    elements: list[Element] = [*_bound_texts(run), *_importance_and_map(run, slices), parallel(run)]
    return Section(key="parameters", title="Parameters", elements=elements)


def _importance_and_map(run: RunData, slices: Sequence[Chart]) -> list[Element]:
    """Importance, the slices, and the map of the two parameters that matter most, of scores at one rung.

    Scores of one rung only are compared: over several, the budget would explain most of the variance, and the
    parameters only the rest.
    """
    # Optuna and scikit-learn take 1 s to import, and a page of two trials needs neither.
    from search.sampling.importance import FEWEST, TooFew, importances

    rung, found = _compared(run, fewest=FEWEST)
    scored = evenly(found, _MOST_ANALYSED)
    try:
        shares = importances(run.space, [(trial.hparams, value) for trial, value in scored])
    except TooFew as error:
        return [Text(text=f"Importance of the parameters is left out: {error}."), *slices]
    note = Text(text=_importance_note(run, rung, shares, len(scored), len(found)))
    map_of_two = contour(run, list(shares), found, rung)
    if map_of_two is None:
        return [note, _importance_chart(shares), *slices]
    # Narrow charts stand two in a row. After the importance and an odd number of slices, the map is alone.
    return [note, _importance_chart(shares), *slices, replace(map_of_two, is_narrow=len(slices) % 2 == 0)]


def _importance_note(
    run: RunData, rung: int, shares: Mapping[str, float], num_analysed: int, num_found: int
) -> str:
    """What the bars show, and which parameters have none."""
    which = f"{num_found}" if num_analysed == num_found else f"{num_analysed:,} of {num_found:,}"
    note = (
        f"Importance by functional ANOVA over the {which} scores at {run.rung_name(rung)}: the share "
        "of their variance that a parameter explains by itself. With few trials this is rough."
    )
    left_out = [name for name in run.space.parameters if name not in shares]
    if left_out:
        note += f" Left out, because not every trial has them: {', '.join(left_out)}."
    return note


def _bound_texts(run: RunData) -> list[Text]:
    """A warning for each parameter whose best value is at a bound of its range."""
    return [Text(text=bound_sentence(name), is_warning=True) for name in run.reached_bounds]


def _compared(run: RunData, *, fewest: int) -> tuple[int, list[tuple[TrialRecord, float]]]:
    """The rung whose scores are analysed, and these scores: the highest rung that half of the ranked trials,
    and at least `fewest`, have completed; the lowest if there is none.

    The top rung is the one that matters, but few trials reach it, and those are much alike: among winners the
    learning rate hardly varies, and seems not to matter.
    """
    num_needed = max(fewest, len(run.ranked) / 2)
    scored: list[tuple[TrialRecord, float]] = []
    for rung in range(len(run.space.ladder.rungs) - 1, -1, -1):
        values = [(trial, trial.value_at(run.metric, rung)) for trial in run.ranked]
        scored = [(trial, value) for trial, value in values if value is not None]
        if len(scored) >= num_needed:
            return rung, scored
    return 0, scored


def _importance_chart(shares: Mapping[str, float]) -> Chart:
    """Bars on an axis that ends at 1.05: the shares add up to 1, and one parameter may have it all."""
    bars = [(shortened(name), share) for name, share in shares.items()]
    axis = Scale(title="share of the variance explained", span=(0, 1.05))
    texts = [f"{share:.3f}" for _, share in bars]
    return replace(bar_chart("importance", "Importance of the parameters", axis, bars, texts), is_narrow=True)
