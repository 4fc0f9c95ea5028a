"""Units of energy and power: the only place that converts between them.

Inside the program energy is in whole millijoules, as in NVML. Sums are exact, so a difference of 1 mJ is a
bug and not rounding. People and tables read joules, and sensors show milliwatts or microjoules; each
conversion is a function of this module.
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
    """Return joules, as people and tables read them; None stays None.

    A float holds them to the millijoule up to 2e12 J, which is 60 kW for a year.
    """
    return None if millijoules is None else millijoules / MJ_PER_J


def to_exact_joules(millijoules: int) -> Decimal:
    """Return joules without rounding, to compare with the text of a table."""
    return Decimal(millijoules) / MJ_PER_J


def to_millijoules(joules: float) -> int:
    """Return the nearest whole millijoules, the inverse of `to_joules`."""
    return round(joules * MJ_PER_J)


def microjoules_to_mj(microjoules: int) -> int:
    """Return whole millijoules, rounded down, from a sensor's microjoules: the remainder counts later."""
    return microjoules // _UJ_PER_MJ


def to_watts(milliwatts: float) -> float:
    """Return a driver's milliwatts as watts."""
    return milliwatts / _MW_PER_W


def to_milliwatts(watts: float) -> int:
    """Return the nearest whole milliwatts."""
    return round(watts * _MW_PER_W)
