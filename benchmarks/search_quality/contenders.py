"""The contenders, by the names that the tables show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from benchmarks.search_quality.plain import OneEpochThenTop, RandomPoints
from benchmarks.search_quality.simulate import Contender
from benchmarks.search_quality.table import Table

Make = Callable[[Table, int, int], Contender]  # table, seed, epochs to spend
Group = Literal["project", "peers"]  # the environment in which contenders can be imported together

STOCK = "Ray ASHA + OptunaSearch"
RANDOM = "random, full trainings"
# Listed without importing them, as the project's own environment has none of them.
PEERS = (
    "Syne Tune ASHA",
    "Syne Tune ASHACQR",
    "DEHB",
    "SMAC3 multi-fidelity",
    "NePS PriorBand, no prior",
    "NePS PriorBand + BO, no prior",
)
TOLD_WHAT_THEY_PROPOSED = ("SMAC3 multi-fidelity",)  # all others learn the row's own point


def contenders(group: Group) -> dict[str, Make]:
    """Contenders whose libraries are in the environment `group`; `make setup-bench` makes the peers'."""
    return {**_ours(), **_stock(), **_plain()} if group == "project" else _peers()


def _ours() -> dict[str, Make]:
    from benchmarks.search_quality.ours import SETUPS

    return {setup.name: setup.contender for setup in SETUPS}


def _stock() -> dict[str, Make]:
    from benchmarks.search_quality.stock import OptunaHyperband, OptunaSearcher, RandomSearcher, RayAsha

    return {
        STOCK: lambda table, seed, _: RayAsha(table, OptunaSearcher(table, seed)),
        "Ray ASHA + random": lambda table, seed, _: RayAsha(table, RandomSearcher(table, seed)),
        "Optuna + HyperbandPruner": lambda table, seed, _: OptunaHyperband(table, seed),
    }


def _plain() -> dict[str, Make]:
    return {
        "one epoch, then the best": OneEpochThenTop,
        RANDOM: lambda table, seed, _: RandomPoints(table, seed),
    }


def _peers() -> dict[str, Make]:
    from benchmarks.search_quality.neps_peers import PriorBand
    from benchmarks.search_quality.peers import Dehb, SyneTune
    from benchmarks.search_quality.smac_peers import Smac

    makes: list[Make] = [
        lambda table, seed, _: SyneTune("ASHA", table, seed),
        lambda table, seed, _: SyneTune("ASHACQR", table, seed),
        lambda table, seed, _: Dehb(table, seed),
        lambda table, seed, num_epochs: Smac(table, seed, num_epochs),
        lambda table, seed, _: PriorBand(table, seed),
        lambda table, seed, _: PriorBand(table, seed, has_model=True),
    ]
    return dict(zip(PEERS, makes, strict=True))
