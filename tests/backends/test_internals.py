"""What of Ray's inside is used, held against the Ray that is installed: a change is one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ray.tune.execution.tune_controller import TuneController

from search.backends.errors import SessionError
from search.backends.ray.internals import OF_CORE, OF_TUNE, WITHOUT_TUNE, Internal, check_internals, lacking
from search.backends.ray.tune_adapter import SearchController

_SOURCES = Path(__file__).parents[2] / "search/backends/ray"


def test_the_installed_ray_has_all_that_is_used_of_its_inside() -> None:
    assert list(lacking(OF_CORE + OF_TUNE)) == []


def test_each_private_method_that_is_overridden_is_in_the_table() -> None:
    listed = {internal.name.rpartition(".")[2] for internal in OF_TUNE}
    own = {name for name in vars(SearchController) if hasattr(TuneController, name) and name[:2] != "__"}
    assert own - listed == set()
    assert len(own) == 9


def test_each_private_module_that_is_imported_is_in_the_table() -> None:
    modules = {internal.module for internal in OF_CORE + OF_TUNE}
    text = "\n".join(path.read_text() for path in _SOURCES.glob("*.py") if path.stem != "internals")
    imported = set(re.findall(r"^\s*from (ray\S*\._\S+) import (\w+)", text, re.M))
    used = {f"ray._private.{name}" for name in re.findall(r"\bray\._private\.(\w+)", text)}
    named = {module if module in modules else f"{module}.{name}" for module, name in imported}
    optional = {name for name in named | used if name.startswith("ray._private.authentication")}
    assert len(optional) == 2  # without it a Ray has no tokens, which is said and not refused
    assert (named | used) - modules - optional == set()


@pytest.mark.parametrize(
    ("internal", "sentence"),
    [
        (
            Internal("ray.tune.no_such_module", "Thing", "do this"),
            "ray.tune.no_such_module.Thing is gone; it is needed to do this",
        ),
        (
            Internal("ray.tune.experiment", "Trial.no_such_method", "do that"),
            "ray.tune.experiment.Trial.no_such_method is gone; it is needed to do that",
        ),
        (
            Internal("ray.tune.experiment", "Trial._no_such_attribute", "do so", is_set_by_init=True),
            "ray.tune.experiment.Trial._no_such_attribute is gone; it is needed to do so",
        ),
        (
            Internal("ray.tune.experiment", "Trial.set_location", "do", ("place",)),
            "ray.tune.experiment.Trial.set_location takes (location) instead of (place); it is needed to do",
        ),
    ],
)
def test_what_a_ray_changed_is_one_sentence(internal: Internal, sentence: str) -> None:
    assert list(lacking([internal])) == [sentence]


def test_a_ray_that_is_not_known_is_refused_with_all_it_lacks_and_the_way_out() -> None:
    gone = [Internal("ray.tune", name, "work") for name in ("OneThing", "AnotherThing")]
    with pytest.raises(SessionError) as refused:
        check_internals(gone, WITHOUT_TUNE)
    assert re.fullmatch(
        r"Ray \d+\.\d+\.\S+ is not supported: ray\.tune\.OneThing is gone; it is needed to "
        r"work; ray\.tune\.AnotherThing is gone; it is needed to work\. "
        r"Use --backend ray-core, which does without Ray Tune\. "
        r"Install another Ray: pip install 'ray\[default,tune\]>=2\.46,<2\.61'",
        str(refused.value),
    )
