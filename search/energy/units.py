"""Units of energy and power: the only place that converts between them.

Inside the program energy is whole millijoules: sums are exact, so that a difference of one is a bug and not
rounding, and NVML counts in them too. People and tables read joules, sensors show milliwatts or microjoules:
each is converted here, in the function named for it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import overload

MJ_PER_J = 1000
_UJ_PER_MJ = 1000
_MW_PER_W = 1000


@overload
def to_joules(millijoules: float) -> float: ...
@overload
def to_joules(millijoules: None) -> None: ...
@overload
def to_joules(millijoules: float | None) -> float | None: ...
def to_joules(millijoules: float | None) -> float | None:
    """Joules, as people and tables read them; None stays unknown.

    A float holds them to the millijoule up to 2e12 J, which 60 kW need a year for.
    """
    return None if millijoules is None else millijoules / MJ_PER_J


def to_exact_joules(millijoules: int) -> Decimal:
    """Joules without rounding, to compare with the text of a table."""
    return Decimal(millijoules) / MJ_PER_J


def to_millijoules(joules: float) -> int:
    """Whole millijoules, the nearest: what `to_joules` gave comes back as it was."""
    return round(joules * MJ_PER_J)


def microjoules_to_mj(microjoules: int) -> int:
    """Whole millijoules, rounded down: RAPL counts microjoules, and what is left over counts later."""
    return microjoules // _UJ_PER_MJ


def to_watts(milliwatts: float) -> float:
    """Watts of a driver's milliwatts."""
    return milliwatts / _MW_PER_W


def to_milliwatts(watts: float) -> int:
    """Whole milliwatts, the nearest."""
    return round(watts * _MW_PER_W)
