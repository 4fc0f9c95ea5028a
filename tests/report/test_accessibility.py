"""What of WCAG 2.2 AA can be known without a browser: colours, names of controls, headings, tables.

`test_browser.py` asks axe-core as well, where there is a browser.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from search.report.page import render
from search.run import Run
from tests.support.report_pages import Page, page_of, promoted, toy_run

STYLE = (Path(render.__file__).parent / "page.css").read_text()
# What is written on what, by the names of the palette.
TEXT = [
    *((text, paper) for text in ("ink", "soft", "accent") for paper in ("paper", "band")),
    ("alarm", "alarm-paper"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    run: Run = toy_run(tmp_path_factory.mktemp("accessible"))
    folder = promoted(run).ledger.trial_folder("trial-0000")
    (folder / "mistakes.csv").write_text("image,label,predicted,score,label_score\n17,b,a,0.98,0.01\n")
    (folder / "confused_pairs.csv").write_text("label,predicted,num_images,share\nb,a,4,0.8\n")
    return page_of(run)


def palettes() -> dict[str, dict[str, str]]:
    """The colours of light, dark and print, in the order of the style sheet."""
    found = [
        dict(re.findall(r"--([\w-]+): (#\w{6})", block))
        for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    ]
    return dict(zip(("light", "dark", "print"), found, strict=True))


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_what_wcag_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
@pytest.mark.parametrize(("text", "paper"), TEXT)
def test_texts_have_a_contrast_of_4_5(theme: str, text: str, paper: str) -> None:
    colours = palettes()[theme]
    assert contrast(colours[text], colours[paper]) >= 4.5


def test_no_colour_stands_outside_the_palette_but_behind_images() -> None:
    outside = re.sub(r":root \{.*?\}", "", STYLE, flags=re.DOTALL)
    assert set(re.findall(r"#[0-9a-f]{3,6}\b", outside)) == {"#ffffff", "#5b6570"}
    assert contrast("#5b6570", "#ffffff") >= 4.5


def test_headings_go_down_a_level_at_a_time(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))


def test_every_image_chart_and_control_has_a_name(page: Page) -> None:
    assert all(each["alt"] for each in page.of("img"))
    named = [attributes for _, attributes in page.tags if attributes.get("role") in ("img", "region")]
    assert named
    assert all(each["aria-label"] for each in named)
    assert all(each["aria-label"] for each in page.of("meter"))
    for place, (tag, _) in enumerate(page.tags):
        assert tag != "input" or page.tags[place - 1][0] == "label"  # it stands in its label


def test_what_scrolls_can_be_reached_by_keyboard_and_tables_name_their_heads(page: Page) -> None:
    scrolling = [each for each in page.of("div") if (each.get("class") or "").startswith("scroll")]
    assert len(scrolling) == len(page.of("table"))
    assert all(each["tabindex"] == "0" for each in [*scrolling, *page.of("pre")])
    assert all(each["scope"] in ("col", "row") for each in page.of("th"))
    assert len(page.of("caption")) == len(page.of("table"))


def test_the_language_and_the_title_are_given_and_ids_are_unique(page: Page) -> None:
    assert page.of("html") == [{"lang": "en"}]
    assert len(page.of("title")) == 1
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
