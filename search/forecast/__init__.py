"""A forecast of what a search will take, before it starts: trials, epochs, time, energy, disk.

There are two stages. `earlier` and `probe` find what configurations cost, from a run that trained the same or
from two training steps each. `forecast` then runs the real scheduler in virtual time with these costs, many
times over.
"""

from __future__ import annotations

from search.backends.costs import Costs, PointCost
from search.forecast.earlier import earlier_costs, observed_costs
from search.forecast.forecast import Forecast, Span, forecast_here, forecast_search

__all__ = [
    "Costs",
    "Forecast",
    "PointCost",
    "Span",
    "earlier_costs",
    "forecast_here",
    "forecast_search",
    "observed_costs",
]
