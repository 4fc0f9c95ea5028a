"""Space files: YAML, checked completely and frozen. Imports neither torch, Ray nor Optuna."""

from __future__ import annotations

from search.space.errors import SpaceError
from search.space.limits import MeteringSection, Resources
from search.space.load import SPACES, SpaceSource, load_space
from search.space.parameters import Choice, Integer, Normal, Parameter, Real
from search.space.schema import (
    Portfolio,
    PortfolioPoint,
    Promote,
    Sampler,
    Scheduler,
)
from search.space.space import Space, dump_space

__all__ = [
    "SPACES",
    "Choice",
    "Integer",
    "MeteringSection",
    "Normal",
    "Parameter",
    "Portfolio",
    "PortfolioPoint",
    "Promote",
    "Real",
    "Resources",
    "Sampler",
    "Scheduler",
    "Space",
    "SpaceError",
    "SpaceSource",
    "dump_space",
    "load_space",
]
