"""The sections that say which rungs there are: `search.ladder`, `search.budget`, W&B's `early_terminate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import model_validator

from search.budget import Ladder, Resource
from search.space.fields import Count, Eta, JoulesPerRung, PerRung, ShareOrCount, SubsetPerRung
from search.space.problems import KeyedError, listed
from search.space.section import Section
from trainables.core.contract import Budget


class LadderAxes(Section):
    """Each axis is a list with one value per rung, or one value for all rungs.

    With `resource: energy_j` the joules say where rungs end, and `epochs` is one number, the cap of a
    training.
    """

    resource: Resource = "epochs"
    joules: JoulesPerRung | None = None
    epochs: PerRung | None = None
    subset: SubsetPerRung | None = None
    resolution: PerRung | None = None

    @model_validator(mode="after")
    def _checked(self) -> LadderAxes:
        if self.resource == "energy_j":
            self._check_joules()
        elif self.joules is not None:
            raise KeyedError("joules", "act with resource: energy_j only; write it, or leave them out")
        if self.epochs is not None:
            self.over(self.epochs)
        return self

    def _check_joules(self) -> None:
        if self.joules is None:
            text = "are missing with resource: energy_j; write what a trial has used at the end of each rung"
            raise KeyedError("joules", f"{text}, such as joules: [500, 1500, 4500]")
        if not isinstance(self.epochs, int):
            got = "is missing" if self.epochs is None else f"must be one number, got {self.epochs}"
            raise KeyedError("epochs", f"{got}: with resource: energy_j it is the cap of a training")

    def over(self, epochs: list[int] | int) -> Ladder:
        """The ladder with these epochs and this section's other axes."""
        given: dict[str, Any] = {"epochs": epochs, "subset": self.subset, "resolution": self.resolution}
        given["joules"] = self.joules
        axes = {axis: values for axis, values in given.items() if values is not None}
        lengths = {axis: len(values) for axis, values in axes.items() if isinstance(values, list)}
        if len(set(lengths.values())) > 1:
            counts = listed(f"{axis} {length}" for axis, length in lengths.items())
            raise ValueError(f"lists must have one value per rung, got {counts}")
        num_rungs = max(lengths.values(), default=1)
        columns = {axis: v if isinstance(v, list) else [v] * num_rungs for axis, v in axes.items()}
        joules = tuple(columns.pop("joules", ()))
        try:
            budgets = tuple(Budget(**_rung(columns, index)) for index in range(num_rungs))
            return Ladder(budgets, joules=joules)
        except ValueError as error:  # its text begins with the axis: "epochs must rise from ..."
            axis, _, text = str(error).partition(" ")
            raise KeyedError(axis, text) if axis in axes else error from None


class TopBudget(Section):
    """Another top for the ladder; the lower rungs keep their proportions."""

    epochs: Count | None = None
    subset: ShareOrCount | None = None
    resolution: Count | None = None


class EarlyTerminate(Section):
    """W&B's hyperband: brackets counted up from `min_iter`, or down from `max_iter`."""

    type: Literal["hyperband"] | None = None
    min_iter: Count | None = None
    max_iter: Count | None = None
    s: Count | None = None
    eta: Eta = 3
    strict: bool = False

    @model_validator(mode="after")
    def _checked(self) -> EarlyTerminate:
        if self.min_iter is None and self.max_iter is None:
            raise ValueError("give min_iter, or max_iter and s")
        if self.max_iter is not None and self.s is None:
            raise KeyedError("s", "must be given beside max_iter: the number of brackets below it")
        return self

    def epochs(self) -> list[int]:
        """The ladder's epochs. `min_iter` names no end; four rungs, as W&B's own example, make one."""
        if self.max_iter is None:
            assert self.min_iter is not None
            return [round(self.min_iter * self.eta**power) for power in range(4)]
        assert self.s is not None
        brackets = (int(self.max_iter / self.eta**power) for power in range(min(self.s, 64) + 1))
        return sorted({epochs for epochs in brackets if epochs >= 1})


def _rung(columns: Mapping[str, Sequence[Any]], index: int) -> dict[str, Any]:
    return {axis: values[index] for axis, values in columns.items()}
