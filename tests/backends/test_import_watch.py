"""A callback is called when modules are imported."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from search.backends.ray.readiness import ImportWatch
from tests.support.processes import ROOT, ran


@pytest.mark.parametrize("num_watches", [1, 2, 3])
def test_imports_are_reported_and_none_asks_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_watches: int
) -> None:
    (tmp_path / "watched_here.py").write_text("import watched_below\n")
    (tmp_path / "watched_below.py").write_text("VALUE = 3\n")
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.syspath_prepend(tmp_path)
    reported: list[int] = []
    for number in range(num_watches):
        ImportWatch(lambda number=number: number, reported.append)
    try:
        assert importlib.import_module("watched_here").watched_below.VALUE == 3
    finally:
        for name in ("watched_here", "watched_below"):
            sys.modules.pop(name, None)
    assert reported == [num_watches - 1]  # the latest, once for the outermost import
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("watched_nowhere")


def test_numpy_is_seeded_though_it_loads_its_generator_only_when_it_is_used() -> None:
    """A new worker that imports numpy for its first trial draws what a warm one draws."""
    code = (
        "import sys, random; from search.trial.worker_env import seed_all; "
        "assert 'numpy' not in sys.modules; "
        "import numpy; seed_all(7); print(numpy.random.rand(), random.random())"
    )
    done = ran(sys.executable, "-c", code, folder=ROOT)
    assert done.stdout.split() == ["0.07630828937395717", "0.32383276483316237"], done.stderr
