"""The search command on the local backend, with a fake meter and without preflight checks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest

from search import cli
from search.accounting.account import Metering, NoMetering
from search.backends.backend import Say
from search.backends.local import LocalBackend
from search.energy.attribution.learning import KnownWatts
from search.energy.reading import EnergyMeter
from search.preflight import PreflightRequest, Report
from search.run import Run
from search.space import Space
from search.trial.background import Background
from search.trial.task import TrialTask
from tests.support.toy_runs import SteadyMeter

Search = Callable[..., int]


class LocalTestBackend(LocalBackend):
    """The local backend without the checks that take seconds.

    Args:
        on_run: Called with the run before its first trial.
        is_here: False for tests of behaviour that depends on all trials running on this machine.
    """

    def __init__(self, on_run: Callable[[Run], None] | None = None, *, is_here: bool = True) -> None:
        super().__init__()
        self.is_here = is_here
        self._on_run, self._meter = on_run, SteadyMeter()

    def examining(
        self, request: PreflightRequest
    ) -> AbstractContextManager[Callable[[Say], Sequence[Report]]]:
        return nullcontext(lambda say: [])

    def start_metering(self, space: Space, known_w: KnownWatts) -> tuple[Metering, str]:
        return NoMetering(), ""

    @contextmanager
    def metered(self, task: TrialTask) -> Iterator[EnergyMeter]:
        yield self._meter

    def execute(self, run: Run, *, background: Background | None = None, say: Say = lambda line: None) -> str:
        if self._on_run:
            self._on_run(run)
        return super().execute(run, background=background, say=say)


def search_without_ray(
    monkeypatch: pytest.MonkeyPatch,
    on_run: Callable[[Run], None] | None = None,
    make_backend: Callable[..., LocalTestBackend] = LocalTestBackend,
) -> Search:
    """A function that takes the command's arguments and returns its exit status.

    The page at the end is written without its plots, whose nine PNGs are half of what a search of toys
    takes.

    Args:
        on_run: Called with the run before its first trial.
    """

    def chosen(name: str = "ray", *, address: str | None = None, dashboard: bool = False) -> LocalBackend:
        return make_backend(on_run, is_here=address is None)

    def search(*arguments: object) -> int:
        words = list(map(str, arguments))
        monkeypatch.setattr(sys, "argv", ["scripts/search.py", *words])
        return cli.run("search", words)

    monkeypatch.setattr("search.launch.chosen_backend", chosen)
    monkeypatch.setattr("search.report.page.writer._draw_charts", lambda sections, folder: iter(()))
    return search
