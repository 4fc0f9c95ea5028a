"""The forecast of a search: medians and ranges over simulated searches.

The real scheduler, rungs, limits and workers run in virtual time, with measured costs and made-up scores. No
formula would do: how many trials reach a rung depends on the order in which they finish.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.backends.backend import Capacity
from search.backends.costs import Costs
from search.backends.resources import resolve_resources
from search.backends.simulated import MOST_TRIALS, Simulated, simulate
from search.budget import Limits, Spent, limit_reached
from search.energy.gpus import visible_gpus
from search.forecast.earlier import earlier_costs
from search.forecast.probe import ProbeError, points_to_probe, probe_costs
from search.output import Output
from search.sampling.proposal import Sampler
from search.space import Space
from search.tariff import JOULES_PER_KWH
from search.trial.task import task_for
from search.trial.worker_env import offer_worker_env
from trainables.core.subprocess_pool import LoadedProcess

_SIMULATED = 21  # searches with different seeds: odd, so that the median is one of them
_FEWEST = 5  # searches, however long each takes
_MOST_WHOLE = 250  # trials simulated in full, in 0.33 s if 200 are known; longer searches are scaled up
_MOST_S = 2.0  # of simulation; those of the 21 searches that have not begun by then are left out
_PLAIN_FIELDS = ("disk_gib", "weights_gib", "reason", "is_endless", "source")
_UNSURE = 0.15  # relative error of measured costs either way: two runs on one idle machine differ by that


@dataclass(frozen=True)
class Span:
    """A median with its range."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], *, unsure: float = 0.0) -> Span:
        """Return the span of simulated values, widened by the fraction `unsure` in both directions."""
        return cls(min(values) * (1 - unsure), statistics.median(values), max(values) * (1 + unsure))

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a search will take.

    Attributes:
        epochs: Epochs of all trials.
        rung_epochs: Epochs at each rung.
        rung_trials: Trials that complete each rung.
        seconds: From the start of the run, without Ray's own start; None if no costs are known.
        kwh: None if no joules are known.
        disk_gib: Maximum size of all checkpoints at one time; None if their size is unknown.
        weights_gib: Maximum size of the weights that stay: best.pt of each trial at the top rung; None if
            trials leave none.
        reason: Why most simulated searches ended.
        is_endless: Whether no limit ends the search.
        source: What the costs were measured on.
    """

    num_trials: Span
    epochs: Span
    rung_epochs: tuple[Span, ...]
    rung_trials: tuple[Span, ...]
    seconds: Span | None
    kwh: Span | None
    disk_gib: float | None
    reason: str
    is_endless: bool
    source: str
    weights_gib: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the forecast as plain data for forecast.json."""
        return {name: _plain(value) for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Forecast:
        """Return the forecast that `to_dict` was called on."""
        spans = {
            name: Span(**plain[name]) if name in plain else None
            for name in ("num_trials", "epochs", "seconds", "kwh")
        }
        rungs = {name: tuple(Span(**span) for span in plain[name]) for name in ("rung_epochs", "rung_trials")}
        rest = {name: plain.get(name) for name in _PLAIN_FIELDS}
        return cls(**spans, **rungs, **rest)  # type: ignore[arg-type]


def forecast_search(
    space: Space, costs: Costs | None, make_sampler: Callable[[Space], Sampler], *, most_s: float = _MOST_S
) -> Forecast:
    """Simulate the search several times, each with other scores.

    Args:
        costs: With None only trials and epochs are forecast, and limits on time and energy are ignored.
        make_sampler: Called for each search; it decides which configurations are tried, at random.
        most_s: After this long no further search is begun, but at least five are. 60 trials take 0.1 s.

    Raises:
        ValueError: Rungs are measured in joules: how many epochs each holds is not known in advance.
    """
    if space.ladder.joules:
        raise ValueError("how many epochs a rung of joules holds is known only when it has been trained")
    space = _without_packing(space)
    searches = _simulated(space, costs, make_sampler, most_s)
    reasons = [search.reason for search in searches]
    kwh = [search.kwh for search in searches if search.kwh is not None]
    return Forecast(
        num_trials=Span.of([search.num_trials for search in searches]),
        epochs=Span.of([sum(search.epochs) for search in searches]),
        rung_epochs=_by_rung([search.epochs for search in searches]),
        rung_trials=_by_rung([search.trials for search in searches]),
        seconds=_seconds(costs, searches) if costs else None,
        kwh=Span.of(kwh, unsure=_UNSURE) if len(kwh) == len(searches) else None,
        disk_gib=_disk_gib(space, costs, searches),
        weights_gib=_weights_gib(costs, searches),
        reason=max(reasons, key=reasons.count),
        is_endless=space.limits.trials is None and any(one.num_trials > MOST_TRIALS for one in searches),
        source=costs.source if costs else "",
    )


def _without_packing(space: Space) -> Space:
    """Return the space with one trial at a time if it packs them: the longest that the search can take.

    How many trials share a device is known only once they have been measured.
    """
    if space.resources.pack is None:
        return space
    return replace(space, resources=space.resources.model_copy(update={"workers": 1}))


def _seconds(costs: Costs, searches: Sequence[Simulated]) -> Span:
    """Return the span of seconds, with an uncertain start: cold disks cost more than warm ones save."""
    span = Span.of([search.seconds for search in searches], unsure=_UNSURE)
    return Span(max(0.0, span.low - costs.unsure_first_s / 2), span.median, span.high + costs.unsure_first_s)


def _simulated(
    space: Space, costs: Costs | None, make_sampler: Callable[[Space], Sampler], most_s: float
) -> list[Simulated]:
    """Return the simulated searches, at least five, each with another seed.

    Without costs an epoch counts as a second, and limits on hours and energy are lifted: they would end a
    search of made-up seconds. The sampler is random, since made-up scores teach nothing; if the real one
    would learn, simulated scores improve with the number of trials instead.
    """
    # With made-up scores a threshold on the metric, other objectives and constraints would mean nothing.
    plain = replace(space.with_training(early_stop_threshold=None), sampler="random")
    plain = replace(plain, beside=(), constraints={})
    if costs is None:
        plain = replace(plain, limits=replace(space.limits.without_energy(), hours=None))
        costs = Costs.of_nothing(len(space.ladder.rungs))
    is_learning = space.sampler != "random" and not space.is_listed
    plain, times = _shortened(plain, costs)
    ends_s, searches = time.monotonic() + most_s, []
    for seed in range(_SIMULATED):
        seeded = plain.with_training(seed=seed)
        search = simulate(seeded, make_sampler(seeded), costs, seed=seed, is_learning=is_learning)
        searches.append(_lengthened(search, times, costs.first_s, plain.limits, space.limits))
        if len(searches) >= _FEWEST and time.monotonic() > ends_s:
            break
    return searches


def _shortened(space: Space, costs: Costs) -> tuple[Space, float]:
    """Return the search with a part of its trials and limits, and the factor from the part to the whole.

    The simulation runs beside the search on the same cores, and rungs keep the same fraction of many trials
    as of 250: simulating all would cost time and change nothing.
    """
    limits = space.limits
    if space.is_listed or limits.trials is None or limits.trials <= _MOST_WHOLE:
        return space, 1.0
    times = limits.trials / _MOST_WHOLE
    first_h = costs.first_s / 3600
    hours = None if limits.hours is None else first_h + max(0.0, limits.hours - first_h) / times
    kwh = None if limits.most_kwh is None else limits.most_kwh / times
    part = replace(limits.without_energy(), trials=_MOST_WHOLE, hours=hours, kwh=kwh)
    return replace(space, limits=part), times


def _lengthened(search: Simulated, times: float, first_s: float, part: Limits, limits: Limits) -> Simulated:
    """Return the search scaled up to `times` as many trials.

    The start and the epochs that run over the limit of hours happen once, so they are not multiplied.
    """
    if times == 1:
        return search
    over_s = max(0.0, search.seconds - part.hours * 3600) if part.hours else 0.0
    seconds = first_s + (search.seconds - over_s - first_s) * times + over_s
    kwh = None if search.kwh is None else search.kwh * times
    num_trials = round(search.num_trials * times)
    spent = Spent(hours=seconds / 3600, energy_j=None if kwh is None else kwh * JOULES_PER_KWH)
    is_whole = search.reason == f"all {search.num_trials} trials done"
    reason = f"all {num_trials} trials done" if is_whole else limit_reached(limits, spent) or search.reason
    epochs, trials = (
        tuple(round(count * times) for count in each) for each in (search.epochs, search.trials)
    )
    return Simulated(
        num_trials=num_trials, epochs=epochs, trials=trials, seconds=seconds, kwh=kwh, reason=reason
    )


def _by_rung(counts: Sequence[Sequence[int]]) -> tuple[Span, ...]:
    """Return a span for each rung, from the counts of every simulated search."""
    return tuple(Span.of(of_one) for of_one in zip(*counts, strict=True))


def _disk_gib(space: Space, costs: Costs | None, searches: Sequence[Simulated]) -> float | None:
    """Return the size of one checkpoint per trial and a second per running trial, up to the space's limit."""
    points = costs.points if costs else ()
    sizes_mib = [point.checkpoint_mib for point in points if point.checkpoint_mib is not None]
    if not sizes_mib:
        return None
    num_kept = max(search.num_trials for search in searches) + (space.resources.workers or 1)
    most = max(sizes_mib) * num_kept / 1024
    return most if space.limits.disk_gib is None else min(most, space.limits.disk_gib)


def _weights_gib(costs: Costs | None, searches: Sequence[Simulated]) -> float | None:
    """Return the size of the largest weights times the most trials that complete the top rung."""
    points = costs.points if costs else ()
    sizes_mib = [point.weights_mib for point in points if point.weights_mib is not None]
    return max(sizes_mib) * max(search.trials[-1] for search in searches) / 1024 if sizes_mib else None


def _plain(value: Any) -> Any:
    """Return a span as its three numbers, and everything else as it is."""
    if isinstance(value, Span):
        return vars(value)
    return [vars(span) for span in value] if isinstance(value, tuple) else value


def forecast_here(
    space: Space,
    results: Path,
    make_sampler: Callable[[Space], Sampler],
    output: Output,
    *,
    loaded: LoadedProcess,
) -> Forecast | None:
    """Forecast a search of `space` on this machine; None if rungs are measured in joules.

    If costs cannot be measured, only trials and epochs are forecast, with a message that says why.

    Args:
        loaded: The process in whose forks a few steps are tried if no earlier run has the costs.
    """
    if space.ladder.joules:
        return None
    here = Capacity(num_cpus=len(os.sched_getaffinity(0)), num_gpus=len(visible_gpus(os.environ).uuids))
    space = _without_packing(replace(space, resources=resolve_resources(space.resources, here)))
    return forecast_search(space, _measure_costs(space, results, output, loaded), make_sampler)


def _measure_costs(space: Space, results: Path, output: Output, loaded: LoadedProcess) -> Costs | None:
    """Return costs from an earlier run, or from two steps of some configurations.

    If neither is possible, print why and return None.
    """
    if (costs := earlier_costs(space, results)) is not None:
        return costs
    if space.trainable.command:
        output.note("how long a script's epoch takes is known only when one has been run")
        return None
    offer_worker_env()
    defaults = space.default_hparams(space.trainable.load())
    task = task_for(space, trial_id="probe", hparams=defaults, seed=space.training.seed, folder=results)
    try:
        with output.status("trying two steps of some configurations"):
            points = points_to_probe(space, defaults)
            return probe_costs(space, task, points, worker="search.backends.ray.worker", loaded=loaded)
    except ProbeError as error:
        output.warn(f"no time forecast: {error}")
        return None
