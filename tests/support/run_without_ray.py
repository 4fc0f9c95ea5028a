"""The search command in this process: everything but Ray is real."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from search import cli, launch
from search.backends.local import execute_here
from search.backends.ray import executor
from search.backends.ray.cluster import RayCluster
from search.run import Run
from tests.support.toy_runs import SteadyMeter

Search = Callable[..., int]


@contextmanager
def no_ray(**_: Any) -> Iterator[RayCluster]:
    yield RayCluster(num_cpus=1, num_gpus=0)


def search_without_ray(
    monkeypatch: pytest.MonkeyPatch, on_run: Callable[[Run], None] | None = None
) -> Search:
    """A function that takes the command's arguments and gives its exit status.

    Args:
        on_run: Called with the run before its first trial.
    """

    def executed(run: Run, *, slots: int, background: object, **_: object) -> str:
        if on_run:
            on_run(run)
        return execute_here(run, SteadyMeter())

    def search(*arguments: object) -> int:
        words = list(map(str, arguments))
        monkeypatch.setattr(sys, "argv", ["scripts/search.py", *words])
        return cli.run("search", words)

    monkeypatch.setattr(launch, "ray_session", no_ray)
    monkeypatch.setattr(launch, "_examining", lambda *_: nullcontext(list))
    monkeypatch.setattr(executor, "execute", executed)
    monkeypatch.setattr(launch, "describe_environment", lambda _: {})
    return search
