"""Every kind of point of a space, started as a trial would be, without training."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from search.preflight.request import PreflightRequest, Problem
from trainables.core.contract import (
    DataError,
    DataNotHere,
    DataSpec,
    Trainable,
    TrainingContext,
    WeightFile,
    WeightsError,
)

Point = Mapping[str, Any]

_MOST_POINTS = 200  # further ones are counted in a note, never left out silently
_MOST_S = 20.0  # after this, no further point of a trainable without its own `rehearse` is started
_DATA_REMEDY = "or name other data in search.data"
_POINT_REMEDY = "fix it, or leave the value out of the space"


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """Starts the points of a request one after another, each as a trial would be started.

    A value that no model accepts would otherwise fail the trial that draws it, perhaps after hours, and the
    sampler would have wasted a trial on it. If the trainable has `rehearse`, a start trains nothing.

    Args:
        is_data_good: Whether the data passed its check. If it did not, models are started with the
            trainable's example data, so that bad data hides no bad model.
        bad_files: Files of weights already reported as missing or damaged: models that want them are
            started with random weights.
        report_progress: Called with what is being done.
    """

    request: PreflightRequest
    trainable: Trainable
    is_data_good: bool
    bad_files: Collection[WeightFile]
    report_progress: Callable[[str], None]

    def findings(self) -> tuple[list[Problem], list[str]]:
        """What keeps trials of the space from starting, each problem once, and notes."""
        is_script = self.request.task.trainable.command is not None  # its start is a whole training's
        if is_script or (self.trainable.rehearse is None and not self.is_data_good):
            return [], []
        problems: dict[Problem, None] = {}
        notes: dict[str, None] = {}
        for point, outcome in self._outcomes():
            if isinstance(outcome, Exception):
                problems |= dict.fromkeys(self._problems(point, outcome, [str(each) for each in problems]))
            else:
                notes |= dict.fromkeys(f"{_title(point)}: {note}" for note in outcome)
        return list(problems), list(notes)

    def _outcomes(self) -> Iterator[tuple[Point, Exception | Sequence[str]]]:
        """Yield each point with why it does not start, or with the notes of its start."""
        ends_s = time.monotonic() + _MOST_S
        points = self.request.rehearsed[:_MOST_POINTS]
        for number, point in enumerate(points):
            if number and self.trainable.rehearse is None and time.monotonic() > ends_s:
                yield point, [f"{len(points) - number} of {len(points)} kinds of points were not tried"]
                return
            self.report_progress(f"starting {_title(point)} ({number + 1} of {len(points)})")
            try:
                yield point, self._started(point)
            except Exception as error:  # the trial would fail in the same way
                yield point, error
        if left := len(self.request.rehearsed) - len(points):
            yield points[0], [f"{left} more kinds of points of this space were not tried"]

    def _started(self, point: Point) -> Sequence[str]:
        data = self.request.task.training.data if self.is_data_good else self.trainable.example.data
        try:
            return self._started_on(data, point)
        except DataNotHere:  # the first trial downloads it
            return self._started_on(self.trainable.example.data, point)

    def _started_on(self, data: DataSpec, point: Point) -> Sequence[str]:
        context = replace(self.request.task.context(), data=data, device="cpu", folder=None)
        if "weights" in point and self._wants_bad_files(point):
            # Reported already; the hub would be asked again, 23 s a file.
            point = {**point, "weights": "none"}
        return self._started_in(context, point)

    def _started_in(self, context: TrainingContext, point: Point) -> Sequence[str]:
        hparams, ladder = self.trainable.hparams(**point), self.request.task.ladder
        if self.trainable.rehearse is not None:
            return self.trainable.rehearse(hparams, ladder.rungs, context)
        self.trainable.start(hparams, ladder.training_budget(0), context)
        return ()

    def _wants_bad_files(self, point: Point) -> bool:
        return any(file in self.bad_files for file in self.trainable.weights(self.trainable.hparams(**point)))

    def _problems(self, point: Point, error: Exception, known: Sequence[str]) -> list[Problem]:
        """The problem behind an error, unless another check or an earlier point has reported it."""
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, DataError):
            return [Problem(what=f"data: {text}", remedy=_DATA_REMEDY)] if self.is_data_good else []
        if any(text in each for each in known):
            return []
        kind = "" if isinstance(error, ValueError | WeightsError) else f"{type(error).__name__}: "
        return [Problem(what=f"{self._apart(point)} does not start: {kind}{text}", remedy=_POINT_REMEDY)]

    def _apart(self, point: Point) -> str:
        """What sets the point apart from the default configuration."""
        defaults = self.request.task.hparams
        words = [f"{name} {value}" for name, value in point.items() if defaults.get(name) != value]
        return f"trial: {', '.join(words) or 'the default configuration'}"


def _title(point: Point) -> str:
    """Short words for a point: its model."""
    return f"model {point['model']}" if "model" in point else "the model"
