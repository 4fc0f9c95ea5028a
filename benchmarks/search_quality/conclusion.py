"""The printed tables and conclusion: medians of the outcomes, with 95 % bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.search_quality.contenders import RANDOM, STOCK, TOLD_WHAT_THEY_PROPOSED
from benchmarks.search_quality.measure import MEASURES, Results
from trainables.curves import Numbers

_SHARES = (0.25, 0.5, 1.0)
_RESAMPLES = 1000
_WIDTH = 44
_MEANING = {
    "seen": "regret of the best accuracy that any epoch showed",
    "picked": "regret, after full training, of the trial that seems best",
}


def report(results: Results, half: str, *, is_detailed: bool) -> Iterator[str]:
    """The lines to print for one half of the tables: remaining regret, and epochs relative to stock.

    Args:
        is_detailed: Whether to list each table separately too.
    """
    names, tables = (list(dict.fromkeys(key[part] for key in results)) for part in (0, 1))
    yield f"\n== {half}: {', '.join(tables)}"
    num_seeds = max(len(each.regrets) for each in results.values())
    for name in names:
        if (num := len(results[name, tables[0]].regrets)) < num_seeds:
            yield f"{name}: {num} seeds only"
    for table in tables if is_detailed else ():
        yield f"\n{table}: {_MEANING['picked']}, after a share of the epochs"
        yield from _regret_rows(results, names, [table], "picked")
    for measure, meaning in _MEANING.items():
        yield f"\n{half}: {meaning}, after a share of the epochs"
        yield from _regret_rows(results, names, tables, measure)
    yield f"\n{half}: share of its epochs after which {STOCK}'s last regret is reached for good"
    yield from _reached_rows(results, names, tables)
    yield f"\n{half}: last regret above that of {RANDOM}, worst table; CPU of a decision"
    yield from _worst_rows(results, names, tables)


def median_share(results: Results, name: str, measure: str) -> Numbers:
    """Low end, median and high end of the fraction of stock's epochs that `name` needs."""
    tables = list(dict.fromkeys(table for _, table in results))
    return _median(_shares_to_reach(results, name, tables, measure))


def worst_table(results: Results, name: str, measure: str) -> tuple[str, float]:
    """The table on which `name` ends furthest behind random full trainings, and by how much, as medians."""
    tables = list(dict.fromkeys(table for _, table in results))
    behind = {
        table: _last(results, name, table, measure) - _last(results, RANDOM, table, measure)
        for table in tables
    }
    return max(behind.items(), key=lambda item: item[1])


def share_to_reach(regret: Numbers, stock: Numbers) -> Numbers:
    """For each seed of both, the fraction of epochs after which `regret` stays as low as `stock` ends.

    Infinite if it ends above. Both are (seeds, epochs). The first time it gets there would not do: a lucky
    early pick is often lost again.
    """
    num_seeds = min(len(regret), len(stock))
    regret, stock = regret[:num_seeds], stock[:num_seeds]
    is_above = regret > stock[:, -1:]
    num_epochs = regret.shape[1]
    last_above = np.where(is_above.any(axis=1), num_epochs - is_above[:, ::-1].argmax(axis=1), 0)
    return np.where(is_above[:, -1], np.inf, (last_above + 1) / num_epochs)


def _regret_rows(
    results: Results, names: Sequence[str], tables: Sequence[str], measure: str
) -> Iterator[str]:
    yield " " * _WIDTH + "".join(f"{f'{share:.0%}':>22}" for share in _SHARES)
    for name in names:
        curves = [_regret(results, name, table, measure) for table in tables]
        at = [np.stack([_after(curve, share) for curve in curves]) for share in _SHARES]
        yield f"{_titled(name)}" + "".join(f"{_shown(_median(values)):>22}" for values in at)


def _reached_rows(results: Results, names: Sequence[str], tables: Sequence[str]) -> Iterator[str]:
    if (STOCK, tables[0]) not in results:
        yield f"({STOCK} was not measured)"
        return
    yield " " * _WIDTH + "".join(f"{measure:>24}{'reached':>10}" for measure in MEASURES)
    for name in names:
        shares = [_shares_to_reach(results, name, tables, measure) for measure in MEASURES]
        cells = [f"{_shown(_median(share)):>24}{np.isfinite(share).mean():>10.0%}" for share in shares]
        yield f"{_titled(name)}" + "".join(cells)


def _worst_rows(results: Results, names: Sequence[str], tables: Sequence[str]) -> Iterator[str]:
    if (RANDOM, tables[0]) not in results:
        yield f"({RANDOM} was not measured)"
        return
    yield " " * _WIDTH + "".join(f"{measure:>34}" for measure in MEASURES) + f"{'ms':>10}"
    for name in names:
        worst = [worst_table(results, name, measure) for measure in MEASURES]
        cells = "".join(f"{f'{above:+.3f} ({table})':>34}" for table, above in worst)
        decision_s = np.median([results[name, table].decision_s for table in tables])
        yield f"{_titled(name)}{cells}{1000 * decision_s:>10.1f}"


def _titled(name: str) -> str:
    return f"{name + ('*' if name in TOLD_WHAT_THEY_PROPOSED else ''):{_WIDTH}}"


def _regret(results: Results, name: str, table: str, measure: str) -> Numbers:
    found: Numbers = results[name, table].regrets[:, MEASURES.index(measure)]
    return found


def _last(results: Results, name: str, table: str, measure: str) -> float:
    return float(np.median(_regret(results, name, table, measure)[:, -1]))


def _after(curve: Numbers, share: float) -> Numbers:
    """Each seed's regret when `share` of the epochs is spent."""
    last: Numbers = curve[:, round(share * curve.shape[1]) - 1]
    return last


def _shares_to_reach(results: Results, name: str, tables: Sequence[str], measure: str) -> Numbers:
    return np.stack(
        [
            share_to_reach(_regret(results, name, each, measure), _regret(results, STOCK, each, measure))
            for each in tables
        ]
    )


def _median(values: Numbers) -> Numbers:
    """Low end, median and high end over (tables, seeds); seeds are resampled, tables are fixed."""
    num_seeds = values.shape[1]
    draws = np.random.default_rng(0).integers(num_seeds, size=(_RESAMPLES, num_seeds))
    medians = np.sort([_middle(values[:, draw]) for draw in draws])
    return np.array([medians[round(0.025 * _RESAMPLES)], _middle(values), medians[round(0.975 * _RESAMPLES)]])


def _middle(values: Numbers) -> float:
    """The upper median, as values that may be infinite cannot be averaged."""
    return float(np.sort(values, axis=None)[values.size // 2])


def _shown(interval: Numbers) -> str:
    low, middle, high = interval
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"
