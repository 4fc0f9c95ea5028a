"""Which trials of a long search a model is still fitted to. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol, TypeVar


class Ended(Protocol):
    """What is asked of a trial of Optuna's that has ended."""

    number: int
    intermediate_values: dict[int, float]

    @property
    def state(self) -> Any:
        """COMPLETE or PRUNED."""

    @property
    def value(self) -> float | None:
        """Of one objective."""

    @property
    def constraints(self) -> Mapping[str, float]:
        """Those above 0 are violated."""


Trial = TypeVar("Trial", bound=Ended)


def latest_and_best(
    ended: Sequence[Trial], *, latest: int, best: int, sign: int, front: AbstractSet[int] | None
) -> list[Trial]:
    """The last `latest` of the trials, and the `best` best of those before them, in their order.

    Of one objective the best are as TPE has them: finished trials by their value, then those that a rung
    stopped, the highest rung first. Of several they are the latest on the Pareto front. One that violates a
    constraint is not among them.

    Args:
        ended: In the order in which they were asked for.
        sign: 1 where larger is better, -1 where smaller is.
        front: The numbers of the trials on the Pareto front; None with one objective.
    """
    earlier, kept = ended[:-latest], ended[-latest:]
    fitting = [trial for trial in earlier if not any(each > 0 for each in trial.constraints.values())]
    if front is not None:
        found = [trial for trial in fitting if trial.number in front][-best:]
    else:
        found = sorted(fitting, key=lambda trial: _goodness(trial, sign), reverse=True)[:best]
    return sorted([*found, *kept], key=lambda trial: trial.number)


def _goodness(trial: Ended, sign: int) -> tuple[bool, int, float]:
    if trial.state.name == "COMPLETE":
        return True, 0, sign * (trial.value or 0.0)
    step = max(trial.intermediate_values, default=-1)
    return False, step, sign * trial.intermediate_values.get(step, 0.0)
