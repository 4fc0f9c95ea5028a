"""How long a search will still take: its forecast, corrected by the pace of its own epochs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from search.forecast import Forecast
from search.run import Run


class TimeLeft:
    """Seconds until the end, recomputed at each epoch and counted down in between.

    With `share` of the work done, the forecast has the weight 1 - share² and the pace share²: at a tenth
    the pace decides 1 % of the figure, at nine tenths 81 %. Early on the pace is noise (the first epochs
    import, decode and warm up), and at the end it is practically a measurement.

    Between two epochs only time is measured. The figure falls with it, but not below the part of the pace,
    which grows while an epoch drags on.

    Args:
        get_forecast: Returns the forecast, or None until there is one.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        run: Run,
        get_forecast: Callable[[], Forecast | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run, self._get_forecast, self._clock = run, get_forecast, clock
        self._known: tuple[object, float, float] | None = None  # its inputs, the seconds left, when computed

    def seconds(self) -> float | None:
        """Seconds left; None if neither forecast nor pace is known."""
        forecast = self._get_forecast()
        if forecast and forecast.seconds:
            share, spent_s = self._share_done(forecast), self._run.spent.hours * 3600
            if 0 < share < 1:
                return self._counted_down(forecast, share, forecast.seconds.median, spent_s)
            if not share and spent_s < forecast.seconds.median:
                return forecast.seconds.median - spent_s
        return self._by_trials()

    def _counted_down(self, forecast: Forecast, share: float, whole_s: float, spent_s: float) -> float:
        by_pace_s = share**2 * (1 - share) / share * spent_s
        if self._known is None or self._known[0] != (share, whole_s):
            left_s = (1 - share**2) * (1 - share) * whole_s + by_pace_s
            self._known = ((share, whole_s), left_s, self._clock())
        _, left_s, at_s = self._known
        return max(left_s - (self._clock() - at_s), by_pace_s)

    def _by_trials(self) -> float | None:
        """Seconds left by the pace of trials that have ended, for runs without a forecast.

        Both are of all sessions: those of a resumed run have ended in the time of all of them.
        """
        done, limit = self._run.ended_count, self._run.space.limits.trials
        if not done or limit is None:
            return None
        return self._run.spent.hours * 3600 / done * max(limit - done, 0)

    def _share_done(self, forecast: Forecast) -> float:
        """The share of the forecast work that is done.

        Epochs are weighted by examples times pixels: on a ladder that grows images from 16 to 64 px the last
        epoch costs as much as 16 of the first, and counting epochs would promise an early end.
        """
        ladder = self._run.space.ladder
        work = [ladder.epoch_work(rung) for rung in range(len(ladder.rungs))]
        total = sum(span.median * one for span, one in zip(forecast.rung_epochs, work, strict=True))
        done = Counter(row.rung for trial in list(self._run.history.trials.values()) for row in trial.rows)
        return sum(done[rung] * one for rung, one in enumerate(work)) / total if total else 0.0
