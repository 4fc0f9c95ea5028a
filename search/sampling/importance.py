"""How much each searched parameter matters for the score, by Optuna's functional ANOVA."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from search.sampling.axes import Axis, axis_of
from search.space import Space

optuna.logging.set_verbosity(optuna.logging.WARNING)

FEWEST = 8  # trials; a forest of fewer points splits by chance
Scored = tuple[Mapping[str, Any], float]  # hparams and score


class TooFew(ValueError):
    """Importance cannot be estimated; the message says why."""


def importances(space: Space, scored: Sequence[Scored]) -> dict[str, float]:
    """Return the fraction of the score's variance that each parameter explains by itself, largest first.

    The fractions add up to 1. Parameters that are not active in every trial (`when`) are left out.

    Hutter et al. 2014, "An Efficient Approach for Assessing Hyperparameter Importance", with a forest of 64
    trees and a fixed seed.

    Raises:
        TooFew: Fewer than eight trials lie in the space, or their scores or parameters do not differ.
    """
    axes = {name: axis_of(parameter) for name, parameter in space.parameters.items()}
    fitting = [(hparams, value) for hparams, value in scored if space.contains(hparams)]
    names = [name for name in axes if all(space.is_active(name, hparams) for hparams, _ in fitting)]
    if len(fitting) < FEWEST:
        raise TooFew(f"{len(fitting)} trials with a score lie in the space, and it takes {FEWEST}")
    if not names:
        raise TooFew("no parameter is searched in every trial")
    if len({value for _, value in fitting}) < 2:
        raise TooFew("all scores are the same")
    codes = [{name: axes[name].encode(hparams[name]) for name in names} for hparams, _ in fitting]
    if all(each == codes[0] for each in codes):
        raise TooFew("the trials have the same parameters")
    study = optuna.create_study()
    distributions = {name: _distribution(axes[name]) for name in names}
    for params, share in zip(codes, _shares([value for _, value in fitting]), strict=True):
        study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=share))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.importance.get_param_importances(study, evaluator=evaluator)


def _shares(values: Sequence[float]) -> list[float]:
    """The values from 0 to 1: trees do not split what differs by less than 1e-8, as small losses do."""
    most = max(map(abs, values))
    scaled = [value / most for value in values]  # first: the difference of two huge ones may be infinite
    low, high = min(scaled), max(scaled)
    return [(value - low) / ((high - low) or 1.0) for value in scaled]


def _distribution(axis: Axis) -> BaseDistribution:
    """The codes of an axis as numbers, those of names too.

    As categories, the marginal of a tree takes 2^n steps for n names that it splits: with the names of 50
    models a page was not done after a minute.
    """
    if axis.is_whole:
        return IntDistribution(int(axis.low), int(axis.high))
    return FloatDistribution(axis.low, axis.high, log=axis.log)
