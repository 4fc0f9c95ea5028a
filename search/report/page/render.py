"""Sections as one self-contained HTML file.

Scripts, styles, figures and data are in it, so that it opens without a network, from an archive, or as an
attachment in ten years. That costs 1.5 MB for plotly.js, in pages that have charts.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from search.printable import printable
from search.report.charts.plotly_figure import plotly_figure
from search.report.page.elements import Figure, Section, TrialDetails

_HERE = Path(__file__).parent
_PLOTLY = "plotly/plotly-cartesian.min.js"  # its README.md says why it is here
_SCRIPTS = ("tables.js", "charts.js", "trials.js")
_DIGITS = 6  # of numbers in plots


def rendered(
    title: str, subtitle: str, sections: Sequence[Section], *, refresh_s: float | None = None
) -> str:
    """The page as HTML.

    Texts of a run may hold anything: class names, messages of exceptions, paths. So all of them are escaped
    by the template, or are JSON in which no tag can end. Besides, the page's own Content-Security-Policy lets
    nothing be loaded, and no script run but those that it names by their hash: markup that got through
    would do nothing.

    Args:
        title: The name of the run.
        subtitle: What it trained, and when the page was written.
        refresh_s: Interval at which the page reloads itself, a whole second at least; None for never.
    """
    elements = [element for section in sections for element in section.elements]
    has_charts = any(
        element.has_curves if isinstance(element, TrialDetails) else element.kind == "chart"
        for element in elements
    )
    scripts = [_text(_PLOTLY) if has_charts else "", *map(_text, _SCRIPTS)]
    return _environment().get_template("page.html").render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        refresh_s=None if refresh_s is None else max(1, round(refresh_s)),
        policy=_policy(scripts),
        style=Markup(_text("page.css")),
        scripts=[Markup(script) for script in scripts],
        figure=lambda chart: json_for_script(plotly_figure(chart), digits=_DIGITS),
        data=lambda table: json_for_script(table.data()),
        details=lambda details: json_for_script(details.data, digits=_DIGITS),
        data_uri=_data_uri,
    )  # fmt: skip


def text_on_page(text: object) -> object:
    r"""A text as the page has it: printable, and with paths as they are from here.

    What steers a terminal, turns text around or cannot be encoded is written out (`\x1b`): a class may be
    called so, and a page is read by `cat` too. Of a path below this folder what follows it is left; a home is
    `~`, because a page is sent around, and a home tells a name. It is done to all texts alike, since paths
    are in commands, messages, tracebacks and logs. In quotes a shell would take `~` for a name: it is put
    before them.
    """
    if not isinstance(text, str) or isinstance(text, Markup):
        return text
    text = printable(text)
    if "/" not in text:
        return text
    for pattern, instead in _path_patterns(str(Path.cwd()), str(Path.home())):
        text = pattern.sub(instead, text)
    return text


@lru_cache(maxsize=1)
def _path_patterns(here: str, home: str) -> list[tuple[re.Pattern[str], str]]:
    """What is shortened, and to what, in this order."""
    homes = "|".join([*([re.escape(home)] if len(home) > 1 else []), r"/(?:home|Users)/[^/\s'\"<>\\]+"])
    shortened = [(rf"(?<![\w.~-]){re.escape(here)}/", "")] if len(here) > 1 else []
    shortened += [
        (rf"(?<![\w.~-])'(?:{homes})/", "~/'"),
        (rf"(?<![\w.~-])(?:{homes})(?![\w.-])", "~"),
    ]
    return [(re.compile(pattern), instead) for pattern, instead in shortened]


def json_for_script(content: object, *, digits: int | None = None) -> Markup:
    """JSON that cannot end the element it is in.

    A browser ends a script at `</script>`, in the middle of a JSON string too. `<`, `>` and `&` are written
    as escapes that JSON reads back as the same characters.

    Args:
        digits: Significant digits of its numbers; None keeps all.

    Raises:
        ValueError: A number is NaN or infinite, which `JSON.parse` in the page would refuse.
    """
    text = json.dumps(_shortened(content, digits), allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _shortened(content: Any, digits: int | None) -> Any:
    """The same lists and mappings with texts as the page has them, and shorter numbers: a plot has 1,000
    pixels, and a float 17 digits.

    Text by text: in JSON the letter of an escape (`\\n`) stands before the path, and hides where it begins.
    """
    if isinstance(content, str):
        return text_on_page(content)
    if isinstance(content, float):
        return content if digits is None else float(f"{content:.{digits}g}")
    if isinstance(content, dict):
        return {text_on_page(name): _shortened(value, digits) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_shortened(value, digits) for value in content]
    return content


@cache
def _environment() -> Environment:
    """The templates: escaping is on for all of them, and a name that is missing is an error instead of an
    empty text."""
    return Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=text_on_page,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    """What the browser may do with the page: show embedded images, and run the scripts with these hashes.

    A hash is of the exact text between the tags, so a script must be in the template without added blanks.
    Plotly sets styles on elements, which needs 'unsafe-inline' for styles.
    """
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts if script)
    return f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {hashes}"


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data_uri(figure: Figure) -> str:
    return f"data:image/{figure.format};base64,{base64.b64encode(figure.content).decode()}"
