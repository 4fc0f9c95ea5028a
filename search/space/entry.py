"""One entry under `parameters:` as Weights & Biases writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainValidator

from search.space.fields import AboveZero, Number, Text
from search.space.problems import shown, wrong_kind


@dataclass(frozen=True)
class Fixed:
    """A parameter that has one value in every trial."""

    value: Any


def _values(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(wrong_kind("a list of values", value))
    if not value:
        raise ValueError("must not be empty")
    return value


def _probabilities(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(wrong_kind("a list of numbers", value))
    for item in value:
        if isinstance(item, bool) or not isinstance(item, int | float) or item < 0:
            raise ValueError(f"must be numbers from 0 to 1, got {shown(item)}")
    if abs(sum(value) - 1) > 1e-6:
        raise ValueError(f"must sum to 1, got {sum(value):g}")
    return value


class Entry(BaseModel):
    """What W&B allows for one parameter. Which keys go together, `to_parameter` decides."""

    model_config = ConfigDict(extra="forbid")

    value: Any = None
    values: Annotated[list[Any] | None, PlainValidator(_values)] = None
    probabilities: Annotated[list[float] | None, PlainValidator(_probabilities)] = None
    min: Number | None = None
    max: Number | None = None
    mu: Number = 0.0
    sigma: AboveZero = 1.0
    q: AboveZero = 1
    a: Number = 1.0
    b: Number = 1.0
    distribution: Text | None = None

    @property
    def given(self) -> set[str]:
        """The keys that say what the parameter may be; a bound without a value is not given."""
        null_bounds = {key for key in ("min", "max") if getattr(self, key) is None}
        return self.model_fields_set - {"distribution"} - null_bounds

    @property
    def bounds(self) -> tuple[float, float]:
        """min and max, once it is known that both are given."""
        assert self.min is not None
        assert self.max is not None
        return self.min, self.max
