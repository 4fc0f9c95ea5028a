"""Who used the energy of one device in one tick. Pure: whole millijoules in, the same millijoules out.

The model. A device draws P_bare with no process on it; a process that only holds a context adds 26 to 66 W
(P_ctx, measured on data-centre GPUs); what is above that is work. So an increment D of the counter has three
layers, filled from below, each with its own rule of who answers for it:

- idle I: the windows, by reserved share; what is not reserved stays idle.
- context C: every open window alike, for each holds one context, however much it reserved.
- active A: by work done, w_i = k_i u_i: utilisation-seconds times watts at full use. Utilisation alone is
  not enough: simulated, with four trials of 120 to 560 W for 60 s (benchmarks/attribution.py), the median
  error of a trial's active energy is 416 % if the whole device is charged to each, 35 % in equal parts, 26 %
  by measured and 24 % by perfect utilisation, and 4.4 % with the watts known.

Why whole millijoules: a sum of floats drifts, and then a bug could not be told from rounding. Each layer is
apportioned by largest remainder, so that the parts add up to D exactly, over any number of ticks, and the
split of a tick does not depend on the order of the windows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from search.energy.units import MJ_PER_J

Method = Literal["exclusive", "calibrated", "utilisation", "equal", "reserved"]

_EXTERNAL, _IDLE = "\0external", "\0idle"  # no window can bear these names


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one window has on a device during one tick.

    Attributes:
        share: Reserved share of the device, in (0, 1].
        utilisation_s: Seconds of full use by the window's processes; None is unknown.
        watts_per_utilisation: Watts above idle at full use; None is unknown.
    """

    share: Fraction
    utilisation_s: float | None = None
    watts_per_utilisation: float | None = None


@dataclass(frozen=True, kw_only=True)
class Tick:
    """One stretch of time of one device in which its windows did not change.

    Attributes:
        increment_mj: What the device's counter moved; never negative.
        external_s: Utilisation-seconds of processes that belong to no window.
        bare_w: Power without any process.
        context_w: Power with a process on the device that does nothing; the bare power is in it.
        is_rest_external: What the usages do not reserve belongs to others that cannot be seen (the other
            slices of a MIG device, the other processes of a meter of one process): reserved shares are then
            all there is to split by, and the rest is theirs.
    """

    increment_mj: int
    duration_s: float
    usages: Mapping[str, Usage] = field(default_factory=dict)
    external_s: float = 0.0
    bare_w: float = 0.0
    context_w: float = 0.0
    is_rest_external: bool = False


@dataclass(frozen=True, kw_only=True)
class Share:
    """One window's millijoules of a tick: its work, its part of the contexts' power, its part of idling."""

    active_mj: int
    context_mj: int
    idle_share_mj: int

    @property
    def used_mj(self) -> int:
        return self.active_mj + self.context_mj + self.idle_share_mj


@dataclass(frozen=True, kw_only=True)
class Split:
    """Where a tick's increment went: the parts, `external_mj` and `idle_mj` add up to it exactly.

    Attributes:
        method: How the active part was split; None where no window was open.
    """

    shares: Mapping[str, Share]
    external_mj: int
    idle_mj: int
    method: Method | None


def split(tick: Tick) -> Split:
    """Split a tick's increment D into idle I, context C and active A, and these among the windows.

        I = min(D, P_bare dt)    C = min(D - I, (P_ctx - P_bare) dt) if there are windows    A = D - I - C
        E_i = A w_i / W + C / |R| + I f_i    E_ext = A w_ext / W    E_idle = I (1 - sum f_i)

    with w_i = k_i u_i. A single window of the whole device gets all of it, unless others were seen working.
    Numbers that mean nothing (negative, infinite, NaN) count as 0, shares that sum to more than 1 are scaled.

    Raises:
        ValueError: The increment is negative: a reset is for the counter to leave out.
    """
    if tick.increment_mj < 0:
        raise ValueError(f"increment_mj must not be negative, got {tick.increment_mj}")
    usages = tick.usages
    # Filled from below and cut off at D: the learnt levels are means, and a tick may use less than they say.
    idle_mj = min(tick.increment_mj, _energy_mj(tick.bare_w, tick.duration_s))
    above_mj = _energy_mj(tick.context_w - tick.bare_w, tick.duration_s) if usages else 0
    context_mj = min(tick.increment_mj - idle_mj, above_mj)
    method, weights = _weights(tick)
    active = apportion(tick.increment_mj - idle_mj - context_mj, weights)
    context = apportion(context_mj, _with_rest(tick) if tick.is_rest_external else dict.fromkeys(usages, 1.0))
    idle = apportion(idle_mj, _shares(usages, _IDLE))
    shares = {
        window: Share(active_mj=active[window], context_mj=context[window], idle_share_mj=idle[window])
        for window in usages
    }
    return Split(
        shares=shares,
        external_mj=active.get(_EXTERNAL, 0) + context.get(_EXTERNAL, 0),
        idle_mj=active.get(_IDLE, 0) + idle[_IDLE],
        method=method,
    )


def apportion(total: int, weights: Mapping[str, float | Fraction]) -> dict[str, int]:
    """Whole parts of `total` in proportion to the weights, by largest remainder.

    They add up to `total` exactly and do not depend on the order of the names. A weight of 0 gets 0,
    unless all are 0: then the parts are equal.
    """
    # Fractions, not floats: 0.29 of 100 mJ is 29, and as floats 28.999999999999996, of which the floor is 28.
    exact = {name: _exact(weight) for name, weight in weights.items()}
    if not any(exact.values()):
        exact = dict.fromkeys(exact, Fraction(1))
    sum_of_weights = sum(exact.values())
    quotas = {name: total * weight / sum_of_weights for name, weight in exact.items()}
    parts = {name: math.floor(quota) for name, quota in quotas.items()}
    # Of equal remainders the first name gets the millijoule: any fixed order will do, a dict's would not.
    by_remainder = sorted(quotas, key=lambda name: (parts[name] - quotas[name], name))
    for name in by_remainder[: total - sum(parts.values())]:
        parts[name] += 1
    return parts


def _weights(tick: Tick) -> tuple[Method | None, dict[str, float | Fraction]]:
    """How the active part is split, and by which weights; `_EXTERNAL` and `_IDLE` may be among them."""
    usages, external_s = tick.usages, _number(tick.external_s)
    # From the surest method to the least: alone, then what cannot be seen, then what is not known, then work.
    if not usages:
        return None, {_EXTERNAL: external_s} if external_s else {_IDLE: 1.0}
    if sum(usage.share for usage in usages.values()) == 1 == len(usages) and not external_s:
        return "exclusive", dict.fromkeys(usages, 1.0)
    if tick.is_rest_external:
        return "reserved", _with_rest(tick)
    # One unknown use makes all unknown: the others' parts would depend on it.
    if any(usage.utilisation_s is None for usage in usages.values()):
        return "reserved", {window: usage.share for window, usage in usages.items()}
    return _by_utilisation(usages, external_s)


def _by_utilisation(
    usages: Mapping[str, Usage], external_s: float
) -> tuple[Method, dict[str, float | Fraction]]:
    used_s = {window: _number(usage.utilisation_s) for window, usage in usages.items()}
    if not any(used_s.values()) and not external_s:
        return "equal", dict.fromkeys(usages, 1.0)  # the counter moved, and no process was seen at work
    working = [usages[window] for window, seconds in used_s.items() if seconds]
    known_w = [Fraction(watts) for usage in working if (watts := _number(usage.watts_per_utilisation))]
    # Unknown watts count as the mean of the known ones: 1 W beside 400 W would leave the window nothing.
    usual_w = sum(known_w, Fraction(0)) / len(known_w) if known_w else Fraction(1)
    weights: dict[str, float | Fraction] = {
        window: Fraction(seconds) * (_exact(_number(usages[window].watts_per_utilisation)) or usual_w)
        for window, seconds in used_s.items()
    }
    weights[_EXTERNAL] = Fraction(external_s) * usual_w
    # An external process's watts are never known: beside one no split is calibrated.
    is_calibrated = len(known_w) == len(working) and not external_s
    return "calibrated" if is_calibrated else "utilisation", weights


def _with_rest(tick: Tick) -> dict[str, float | Fraction]:
    return {**_shares(tick.usages, _EXTERNAL)}


def _shares(usages: Mapping[str, Usage], rest: str) -> dict[str, float | Fraction]:
    shares = {window: max(usage.share, Fraction(0)) for window, usage in usages.items()}
    return {**shares, rest: max(1 - sum(shares.values(), Fraction(0)), Fraction(0))}


def _energy_mj(power_w: float, duration_s: float) -> int:
    energy_mj = _exact(power_w) * _exact(duration_s) * MJ_PER_J
    # Down: what is left of a millijoule counts as work, so that no layer below takes more than it draws.
    return math.floor(energy_mj)


def _number(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) and value > 0 else 0.0


def _exact(value: float | Fraction) -> Fraction:
    if isinstance(value, Fraction):
        return max(value, Fraction(0))
    return Fraction(_number(value))
