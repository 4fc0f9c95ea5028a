"""From regrets to the tables and the conclusion that are printed. Medians, with 95 % bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from benchmarks.search_quality.contenders import STOCK
from benchmarks.search_quality.measure import MEASURES, Regrets
from trainables.curves import Numbers

TARGET = 0.5
_SHARES = (0.25, 0.5, 1.0)
_RESAMPLES = 1000
_WIDTH = 42
_MEANING = {
    "seen": "regret of the best accuracy that any epoch showed",
    "picked": "regret, after full training, of the trial that looks best",
}


def report(regrets: Regrets, num_trainings: int) -> Iterator[str]:
    """The lines to print: each table, all tables together, epochs against stock, the conclusion."""
    names = list(dict.fromkeys(name for name, _ in regrets))
    tables = list(dict.fromkeys(table for _, table in regrets))
    for table in tables:
        yield f"\n{table}: {_MEANING['seen']}, after a share of {num_trainings} full trainings' epochs"
        yield from _regret_rows(regrets, names, [table], "seen")
    for measure, meaning in _MEANING.items():
        yield f"\nall {len(tables)} tables: {meaning}"
        yield from _regret_rows(regrets, names, tables, measure)
    reached = {measure: _reached_by(regrets, names, tables, measure) for measure in MEASURES}
    yield f"\nshare of its epochs after which {STOCK}'s last regret is reached for good; searches that do"
    yield from _reached_rows(names, reached)
    yield ""
    yield from _conclude(reached)


def _regret_rows(
    regrets: Regrets, names: Sequence[str], tables: Sequence[str], measure: str
) -> Iterator[str]:
    yield " " * _WIDTH + "".join(f"{f'{share:.0%}':>22}" for share in _SHARES)
    for name in names:
        curves = [regrets[name, table][:, MEASURES.index(measure)] for table in tables]
        at = [np.stack([_after(curve, share) for curve in curves]) for share in _SHARES]
        yield f"{name:{_WIDTH}}" + "".join(f"{_shown(_median(values)):>22}" for values in at)


def _after(curve: Numbers, share: float) -> Numbers:
    """Of each seed, the regret when `share` of the epochs is spent."""
    last: Numbers = curve[:, round(share * curve.shape[1]) - 1]
    return last


def _reached_by(
    regrets: Regrets, names: Sequence[str], tables: Sequence[str], measure: str
) -> dict[str, Numbers]:
    index = MEASURES.index(measure)
    return {
        name: np.stack(
            [share_to_reach(regrets[name, t][:, index], regrets[STOCK, t][:, index]) for t in tables]
        )
        for name in names
    }


def share_to_reach(regret: Numbers, stock: Numbers) -> Numbers:
    """Of each seed, the share of the epochs from which on `regret` stays as low as the last of `stock`.

    Infinite where it ends above. Both are (seeds, epochs). A first touch would not do: a lucky pick
    of the first minute is often lost again.
    """
    is_above = regret > stock[:, -1:]
    num_epochs = regret.shape[1]
    last_above = np.where(is_above.any(axis=1), num_epochs - is_above[:, ::-1].argmax(axis=1), 0)
    return np.where(is_above[:, -1], np.inf, (last_above + 1) / num_epochs)


def _reached_rows(names: Sequence[str], reached: dict[str, dict[str, Numbers]]) -> Iterator[str]:
    yield " " * _WIDTH + "".join(f"{measure:>24}{'reached':>10}" for measure in MEASURES)
    for name in names:
        shares = [reached[measure][name] for measure in MEASURES]
        cells = [f"{_shown(_median(share)):>24}{np.isfinite(share).mean():>10.0%}" for share in shares]
        yield f"{name:{_WIDTH}}" + "".join(cells)


def _conclude(reached: dict[str, dict[str, Numbers]]) -> Iterator[str]:
    for measure in MEASURES:
        shares = {name: _median(share) for name, share in reached[measure].items() if name.startswith("ours")}
        for what, name in (
            ("default", next(iter(shares))),
            ("best of ours", min(shares, key=_middle_of(shares))),
        ):
            share = shares[name][1]
            needed = f"{share:.2f}" if np.isfinite(share) else "more than all"
            outcome = "reached" if share <= TARGET else "NOT reached"
            yield (
                f"conclusion ({measure}, {what}): {name} needs {needed} of the epochs of {STOCK}; "
                f"target {TARGET}: {outcome}"
            )


def _middle_of(shares: dict[str, Numbers]) -> Callable[[str], float]:
    return lambda name: float(shares[name][1])


def _median(values: Numbers) -> Numbers:
    """Low end, median and high end over (tables, seeds); seeds are drawn again, tables are given."""
    num_seeds = values.shape[1]
    draws = np.random.default_rng(0).integers(num_seeds, size=(_RESAMPLES, num_seeds))
    medians = np.sort([_middle(values[:, draw]) for draw in draws])
    return np.array([medians[round(0.025 * _RESAMPLES)], _middle(values), medians[round(0.975 * _RESAMPLES)]])


def _middle(values: Numbers) -> float:
    """The upper median: of values that may be infinite none can be averaged."""
    return float(np.sort(values, axis=None)[values.size // 2])


def _shown(interval: Numbers) -> str:
    low, middle, high = interval
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"
