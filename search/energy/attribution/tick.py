"""Split the energy of one device in one tick. Pure: whole millijoules in, the same millijoules out.

The model: a device without any process draws P_bare. Processes that only hold a context raise that to P_ctx,
26 to 66 W more on data-centre GPUs (measured). Whatever is drawn above P_ctx is work. An increment D of the
counter therefore has three layers, filled from the bottom, and each is charged by a rule of its own:

- idle I: to the windows by reserved share; the unreserved part stays idle.
- context C: to all open windows equally, since each holds one context, however much it reserved.
- active A: by work done, w_i = k_i u_i, watts at full use times utilisation-seconds. Utilisation alone is
  not enough. In a simulation of four trials of 120 to 560 W over 60 s (benchmarks/attribution.py), the
  median error of a trial's active energy is 416 % if each is charged with the whole device, 35 % in equal
  parts, 26 % by measured utilisation, 24 % by perfect utilisation, and 4.4 % if the watts are known too.

Why whole millijoules: sums of floats drift, and a bug would then look like rounding. Each layer is
apportioned by largest remainder, so the parts add up to D exactly over any number of ticks, and the split of
a tick does not depend on the order of its windows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from search.energy.units import MJ_PER_J

Method = Literal["exclusive", "calibrated", "utilisation", "equal", "reserved"]

_EXTERNAL, _IDLE = "\0external", "\0idle"  # no window can have these names


@dataclass(frozen=True, kw_only=True)
class Usage:
    """One window's share and use of a device during one tick.

    Attributes:
        share: Reserved share of the device, in (0, 1].
        utilisation_s: Seconds of full use by the window's processes; None if unknown.
        watts_per_utilisation: Watts above idle at full use; None if unknown.
    """

    share: Fraction
    utilisation_s: float | None = None
    watts_per_utilisation: float | None = None


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A stretch of time in which the windows of one device did not change.

    Attributes:
        increment_mj: How far the device's counter moved; never negative.
        external_s: Utilisation-seconds of processes that belong to no window.
        bare_w: Power without any process.
        context_w: Power with a process that does nothing on the device; includes the bare power.
        is_rest_external: Whether the unreserved share belongs to users that cannot be seen: the other slices
            of a MIG device, or the processes outside a meter of one process. Reserved shares are then all
            there is to split by, and the rest is external.
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
    """One window's millijoules of a tick: for its work, for holding a context, and for the idle device."""

    active_mj: int
    context_mj: int
    idle_share_mj: int

    @property
    def used_mj(self) -> int:
        return self.active_mj + self.context_mj + self.idle_share_mj


@dataclass(frozen=True, kw_only=True)
class Split:
    """Where a tick's increment went: `shares`, `external_mj` and `idle_mj` add up to it exactly.

    Attributes:
        method: How the active layer was split; None if no window was open.
    """

    shares: Mapping[str, Share]
    external_mj: int
    idle_mj: int
    method: Method | None


def split(tick: Tick) -> Split:
    """Split a tick's increment D into idle I, context C and active A, and each of these among the windows.

        I = min(D, P_bare dt)    C = min(D - I, (P_ctx - P_bare) dt) if there are windows    A = D - I - C
        E_i = A w_i / W + C / n + I f_i    E_ext = A w_ext / W    E_idle = I (1 - sum f_i)

    for n windows with reserved shares f_i, w_i = k_i u_i, and W the sum of all w, w_ext included. A single
    window that has reserved the whole device gets all of D unless others were seen working. Where the rest is
    external, A and C are both split by reserved share. Without a window, A is external if a process was seen
    working and idle otherwise. Meaningless numbers (negative, infinite, NaN) count as 0, and shares that sum
    to more than 1 are scaled down.

    Raises:
        ValueError: The increment is negative. Leaving out resets is the counter's job.
    """
    if tick.increment_mj < 0:
        raise ValueError(f"increment_mj must not be negative, got {tick.increment_mj}")
    usages = tick.usages
    # Filled from the bottom and capped at D: the learnt levels are means, and a tick may use less.
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
    """Return whole parts of `total` in proportion to the weights, by largest remainder.

    The parts add up to `total` exactly and do not depend on the order of the names. A weight of 0 gets 0;
    if all weights are 0, the parts are equal.
    """
    # Fractions, since 0.29 of 100 mJ is 29, but in floats 28.999999999999996, whose floor is 28.
    exact = {name: _exact(weight) for name, weight in weights.items()}
    if not any(exact.values()):
        exact = dict.fromkeys(exact, Fraction(1))
    sum_of_weights = sum(exact.values())
    quotas = {name: total * weight / sum_of_weights for name, weight in exact.items()}
    parts = {name: math.floor(quota) for name, quota in quotas.items()}
    # Equal remainders go by name. Any fixed order would do; a dict's order is not fixed.
    by_remainder = sorted(quotas, key=lambda name: (parts[name] - quotas[name], name))
    for name in by_remainder[: total - sum(parts.values())]:
        parts[name] += 1
    return parts


def _weights(tick: Tick) -> tuple[Method | None, dict[str, float | Fraction]]:
    """Return how the active layer is split, and its weights, which may include `_EXTERNAL` and `_IDLE`."""
    usages, external_s = tick.usages, _number(tick.external_s)
    # A window alone needs no weights. Reserved shares are for users or work that cannot be seen. The rest is
    # split by work.
    if not usages:
        return None, {_EXTERNAL: external_s} if external_s else {_IDLE: 1.0}
    if sum(usage.share for usage in usages.values()) == 1 == len(usages) and not external_s:
        return "exclusive", dict.fromkeys(usages, 1.0)
    if tick.is_rest_external:
        return "reserved", _with_rest(tick)
    # One window's unknown use makes all parts unknown, since each depends on the sum.
    if any(usage.utilisation_s is None for usage in usages.values()):
        return "reserved", {window: usage.share for window, usage in usages.items()}
    return _by_utilisation(usages, external_s)


def _by_utilisation(
    usages: Mapping[str, Usage], external_s: float
) -> tuple[Method, dict[str, float | Fraction]]:
    used_s = {window: _number(usage.utilisation_s) for window, usage in usages.items()}
    if not any(used_s.values()) and not external_s:
        return "equal", dict.fromkeys(usages, 1.0)  # the counter moved, but no process was seen working
    working = [usages[window] for window, seconds in used_s.items() if seconds]
    known_w = [Fraction(watts) for usage in working if (watts := _number(usage.watts_per_utilisation))]
    # Unknown watts count as the mean of the known ones. As 1 W beside 400 W the window would get nothing.
    usual_w = sum(known_w, Fraction(0)) / len(known_w) if known_w else Fraction(1)
    weights: dict[str, float | Fraction] = {
        window: Fraction(seconds) * (_exact(_number(usages[window].watts_per_utilisation)) or usual_w)
        for window, seconds in used_s.items()
    }
    weights[_EXTERNAL] = Fraction(external_s) * usual_w
    # The watts of an external process are never known, so a split with one is never calibrated.
    is_calibrated = len(known_w) == len(working) and not external_s
    return "calibrated" if is_calibrated else "utilisation", weights


def _with_rest(tick: Tick) -> dict[str, float | Fraction]:
    return {**_shares(tick.usages, _EXTERNAL)}


def _shares(usages: Mapping[str, Usage], rest: str) -> dict[str, float | Fraction]:
    shares = {window: max(usage.share, Fraction(0)) for window, usage in usages.items()}
    return {**shares, rest: max(1 - sum(shares.values(), Fraction(0)), Fraction(0))}


def _energy_mj(power_w: float, duration_s: float) -> int:
    energy_mj = _exact(power_w) * _exact(duration_s) * MJ_PER_J
    # Rounded down, so that no lower layer takes more than it draws: the rest of a millijoule counts as work.
    return math.floor(energy_mj)


def _number(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) and value > 0 else 0.0


def _exact(value: float | Fraction) -> Fraction:
    if isinstance(value, Fraction):
        return max(value, Fraction(0))
    return Fraction(_number(value))
