"""What a search will cost, forecast before it starts."""

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
