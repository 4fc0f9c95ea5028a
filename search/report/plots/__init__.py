"""Pictures of a training, drawn from the tables in its folder. Matplotlib is loaded when one is drawn."""

from __future__ import annotations

from search.report.plots.draw import draw_plots, draw_promotion

__all__ = ["draw_plots", "draw_promotion"]
