"""Functions that are imported when they are called."""

from __future__ import annotations

import inspect
import pickle
import sys
from pathlib import Path

import pytest

from trainables.core.deferred import deferred
from trainables.core.promises import place_of

HEAVY = """
import sys

def area(width, height=2):
    return width * height

LIMIT = 3
"""


@pytest.fixture
def heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that can be imported and was not yet."""
    (tmp_path / "heavy_here.py").write_text(HEAVY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "heavy_here", raising=False)
    return tmp_path / "heavy_here.py"


@pytest.mark.usefixtures("heavy")
def test_the_module_is_imported_at_the_first_call_and_not_before() -> None:
    area = deferred("heavy_here:area")
    assert callable(area)
    assert "heavy_here" not in sys.modules
    assert (area(3), area(3, height=5)) == (6, 15)
    assert "heavy_here" in sys.modules


def test_a_message_about_the_function_names_where_it_is_written(heavy: Path) -> None:
    assert place_of(deferred("heavy_here:area")) == f" ({heavy}, line 4)"


@pytest.mark.usefixtures("heavy")
def test_it_shows_the_signature_of_the_function() -> None:
    assert list(inspect.signature(deferred("heavy_here:area")).parameters) == ["width", "height"]


@pytest.mark.usefixtures("heavy")
def test_it_is_pickled_as_a_name_without_importing_anything() -> None:
    area = pickle.loads(pickle.dumps(deferred("heavy_here:area")))
    assert "heavy_here" not in sys.modules
    assert area == deferred("heavy_here:area")
    assert area(1) == 2


@pytest.mark.usefixtures("heavy")
@pytest.mark.parametrize("name", ["volume", "LIMIT"])
def test_a_function_that_is_not_there_is_named_with_its_module(name: str) -> None:
    with pytest.raises(
        ImportError, match=f"heavy_here has no function {name}, which 'heavy_here:{name}' names"
    ):
        deferred(f"heavy_here:{name}")(1)


def test_a_module_that_is_not_there_is_an_import_error_at_the_call() -> None:
    start = deferred("trainables.no_such_family.training:start")
    with pytest.raises(ModuleNotFoundError, match="no_such_family"):
        start()


def test_what_a_module_raises_while_it_is_imported_is_raised_by_the_call(heavy: Path) -> None:
    heavy.write_text("raise OSError('libcudart is not here')")
    with pytest.raises(OSError, match="libcudart is not here"):
        deferred("heavy_here:area")(1)


@pytest.mark.parametrize(
    "target", ["", "start", "package.module", ":start", "module:", "a b:c", "a:b.c", "../a:b"]
)
def test_what_names_no_function_is_refused_when_it_is_written(target: str) -> None:
    with pytest.raises(ValueError, match=r"package\.module:function"):
        deferred(target)
