"""W&B sweep files written beside a small script, and the spaces or problems that result."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.space import Space, SpaceError, load_space

FIT = 'import json\nprint(json.dumps({"epoch": 1, "val_acc": 0.5}))\n'
SEARCH = """
search:
  trainable: command
  command: {run: "{python} fit.py --epochs {epochs}", defaults: %s}
  ladder: {epochs: [1]}
  limits: {trials: 4}
metric: {name: val_acc, goal: maximize}
"""


def sweep(folder: Path, text: str, defaults: str | None = None, *overrides: str) -> Space:
    """The space of a sweep file; with `defaults` (trial 0) given, a script is searched."""
    (folder / "fit.py").write_text(FIT)
    path = folder / "sweep.yaml"
    path.write_text(text + (SEARCH % defaults if defaults else ""), encoding="utf-8")
    return load_space(str(path), overrides=overrides, spaces_dir=folder)


def problems(folder: Path, text: str, defaults: str | None = None, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(SpaceError) as caught:
        sweep(folder, text, defaults, *overrides)
    return caught.value.problems


def about(space: Space, where: str) -> list[str]:
    return [note.removeprefix(f"{where}: ") for note in space.notices if note.startswith(f"{where}:")]
