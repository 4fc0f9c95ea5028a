"""A callback is called when modules are imported."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from search.backends.ray.readiness import ImportWatch


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
