"""What a learning-rate range test shows: between which rates the loss falls, and if a space covers them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.space import Space
from search.space.parameters import Choice, Real
from trainables.core.optional import LrRangeStep

NAME, FILE = "lr", "lr_range.csv"
LOWEST, HIGHEST = 1e-7, 10.0  # as fastai's lr_find
RULE = (
    "from where the smoothed loss has completed a tenth of its fall to where it is lowest (Smith 2017); "
    "fastai's rules for one rate are the steepest fall, and a tenth of the rate with the lowest loss"
)
_BEGUN = 0.1  # of the fall
_LEAST_FALL = 0.05  # of the first loss: less is noise
_FEWEST = 10


@dataclass(frozen=True, kw_only=True)
class LrRange:
    """The learning rates worth searching.

    Attributes:
        low: Where the loss has begun to fall; `high` is where it stops falling.
        steepest: Where the loss falls fastest; `safe` is a tenth of `high`.
    """

    low: float
    high: float
    steepest: float
    safe: float


def suggested_range(steps: Sequence[LrRangeStep]) -> LrRange | None:
    """The rates between which the smoothed loss falls; None if no rate lowered it by 5 %.

    After the least loss training diverges, so the fall is looked for before it.
    """
    losses = [step.smoothed_loss for step in steps if step.smoothed_loss == step.smoothed_loss]
    if len(losses) < _FEWEST:
        return None
    least = min(range(len(losses)), key=losses.__getitem__)
    falling = losses[: least + 1]
    highest = max(range(len(falling)), key=falling.__getitem__)
    fall = falling[highest] - falling[-1]
    if least == highest or fall < _LEAST_FALL * abs(losses[0]):
        return None
    begun = next(
        place for place in range(highest, least + 1) if falling[highest] - falling[place] >= _BEGUN * fall
    )
    # Rates rise by a constant factor, so the slope over the logarithm is the difference of neighbours.
    steepest = min(range(highest, least), key=lambda place: falling[place + 1] - falling[place])
    high = steps[least].lr
    return LrRange(low=steps[begun].lr, high=high, steepest=steps[steepest].lr, safe=high / 10)


def coverage(space: Space, found: LrRange) -> str:
    """Describe whether the space searches the suggested rates, and what to change if not."""
    parameter = space.parameters.get(NAME)
    if isinstance(parameter, Real):
        low, high = parameter.low, parameter.high
    elif isinstance(parameter, Choice):
        low, high = min(parameter.values), max(parameter.values)
    else:
        fixed = space.fixed.get(NAME)
        one = "does not search it" if fixed is None else f"has one rate, {fixed:g}"
        entry = f"{{distribution: log_uniform_values, min: {found.low:.2g}, max: {found.high:.2g}}}"
        return f'the space {one}; to search it: --set "parameters.{NAME}={entry}"'
    searched = f"the space searches {NAME} from {low:g} to {high:g}"
    missing = []
    if low > found.low:
        missing.append((f"below {low:g}", f"--set parameters.{NAME}.min={found.low:.2g}"))
    if high < found.high:
        missing.append((f"above {high:g}", f"--set parameters.{NAME}.max={found.high:.2g}"))
    if not missing:
        return f"{searched}: that covers {found.low:.2g} to {found.high:.2g}"
    sides, remedies = zip(*missing, strict=True)
    remedy = " ".join(remedies) if isinstance(parameter, Real) else f"add values {' and '.join(sides)}"
    return f"{searched}: useful rates {' and '.join(sides)} are not searched; {remedy}"
