"""Configurations as points of a unit cube, to compare them and to draw new ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from search.freeze_thaw.kernel import Numbers
from search.sampling.axes import Axis, axis_of
from search.sampling.feasibility import Feasibility, place_of
from search.space import Choice, Space
from search.space.parameters import is_same

_NAME_SCALE = 1 / np.sqrt(2)  # two names are then 1 apart, as the ends of a range are
_MIDDLE = 0.5
# Random candidates, and for each of the best the small steps from it and copies with parameters redrawn.
_UNIFORM, _STEPS, _REDRAWN = 150, 20, 15
_STEP = 0.1  # deviation of a small step, as a fraction of a parameter's range


class Points:
    """Conversions between hparams, shares and features.

    A configuration is drawn as *shares*, one number in [0, 1] for each parameter, such that uniform shares
    give the parameter's own distribution. Configurations are compared by their *features*: the place of an
    ordered parameter on its own scale, one of n corners for a name, and the middle of the scale with a 1
    beside it for a parameter that is switched off.

    Args:
        defaults: The default configuration: every hparam of the trainable.

    Attributes:
        memory: Where trials had enough memory and broke no constraint; it works in `codes`.
    """

    def __init__(self, space: Space, defaults: Mapping[str, Any]) -> None:
        self._space, self._defaults = space, dict(defaults)
        self._axes: dict[str, Axis] = {name: axis_of(each) for name, each in space.parameters.items()}
        self._order = list(space.search_order())
        self.feasibility = Feasibility(self._axes)

    @property
    def num_parameters(self) -> int:
        return len(self._order)

    def contains(self, hparams: Mapping[str, Any]) -> bool:
        return self._space.contains(hparams)

    @property
    def num_features(self) -> int:
        return len(self.features(self._defaults))

    def hparams(self, shares: Numbers) -> dict[str, Any]:
        """Return the configuration of these shares; a parameter that it switches off keeps its default."""
        found = dict(self._defaults)
        for name, share in zip(self._order, shares.tolist(), strict=True):
            if self._space.is_active(name, found):
                found[name] = _value(self._axes[name], share)
        return found

    def shares(self, hparams: Mapping[str, Any]) -> Numbers:
        """Return the shares of this configuration; a value outside its range counts as the nearest end."""
        return np.array([self._share(name, hparams) for name in self._order])

    def codes(self, hparams: Mapping[str, Any]) -> dict[str, Any]:
        """Return this configuration's searched and active parameters, in the codes of their axes."""
        active = [name for name in self._order if self._space.is_active(name, hparams)]
        return {name: self._axes[name].encode(hparams[name]) for name in active}

    def features(self, hparams: Mapping[str, Any]) -> Numbers:
        """Return the point at which the model sees this configuration, (features,)."""
        return np.array([each for name in self._order for each in self._features_of(name, hparams)])

    def _share(self, name: str, hparams: Mapping[str, Any]) -> float:
        axis = self._axes[name]
        if not self._space.is_active(name, hparams):
            return _MIDDLE
        place = self._place(name, hparams)
        if place is None:
            return _MIDDLE
        if not axis.is_whole:
            return place
        index = place * (axis.high - axis.low) if axis.is_ordered else place
        return (index + 0.5) / _count(axis)

    def _features_of(self, name: str, hparams: Mapping[str, Any]) -> list[float]:
        parameter = self._space.parameters[name]
        is_active = self._space.is_active(name, hparams)
        place = self._place(name, hparams) if is_active else None
        switched = [0.0 if is_active else 1.0] if name in self._space.when else []
        if isinstance(parameter, Choice) and not parameter.is_ordered:
            value = hparams.get(name)
            corners = [
                _NAME_SCALE * (place is not None and is_same(each, value)) for each in parameter.values
            ]
            return [*corners, *switched]
        return [_MIDDLE if place is None else place, *switched]

    def _place(self, name: str, hparams: Mapping[str, Any]) -> float | None:
        """Return the place on the axis, from 0 to 1, or a name's index; None if the axis lacks the value."""
        axis = self._axes[name]
        try:
            code = axis.encode(hparams[name])
        except (KeyError, StopIteration, ValueError, TypeError):  # a default outside the space's values
            return None
        place = float(place_of(axis, code))
        return min(1.0, max(0.0, place)) if axis.is_ordered else place


def candidates(chance: np.random.Generator, num_parameters: int, best: Sequence[Numbers]) -> Numbers:
    """Return shares to choose from, (candidates, parameters): random ones, and some around each of the best.

    Around each, 20 are small steps in every parameter, and 15 have about two parameters drawn again, because
    a step of 0.1 changes no name and never crosses from one good region to another.
    """
    found = [chance.uniform(size=(_UNIFORM, num_parameters))]
    for centre in best:
        steps = np.clip(centre + chance.normal(0, _STEP, (_STEPS, num_parameters)), 0.0, 1.0)
        is_redrawn = chance.uniform(size=(_REDRAWN, num_parameters)) < min(1.0, 2 / num_parameters)
        redrawn = np.where(is_redrawn, chance.uniform(size=(_REDRAWN, num_parameters)), centre)
        found += [steps, redrawn]
    return np.concatenate(found)


def _value(axis: Axis, share: float) -> Any:
    if not axis.is_whole:
        return axis.at(share)
    return axis.decode(axis.low + min(int(share * _count(axis)), _count(axis) - 1))


def _count(axis: Axis) -> int:
    """Return the number of values of a whole axis; each has an equal part of the shares, the ends too."""
    return int(axis.high - axis.low) + 1
