"""Sections as one self-contained HTML file.

Scripts, styles, figures and data are in it, so that it opens without a network, from an archive, or as an
attachment ten years from now. In pages with charts that costs 1.5 MB for plotly.js.
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
_SHELL_WORD = re.compile(r"(?:'[^']*'|[^\s'])+")  # one that is not to be broken, quoted as it is
_DIGITS = 6  # of numbers in plots


def rendered(
    title: str, subtitle: str, sections: Sequence[Section], *, refresh_s: float | None = None
) -> str:
    """The page as HTML.

    Texts of a run may hold anything: class names, messages of exceptions, paths. So the template escapes all
    of them, or they are JSON in which no tag can end. In addition, the page's Content-Security-Policy loads
    nothing and runs only the scripts that it names by hash, so markup that got through would do nothing.

    Args:
        title: The name of the run.
        subtitle: What it trained, and when the page was written.
        refresh_s: Interval at which the page reloads itself, in whole seconds, at least one; None for never.
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
        shell_words=_SHELL_WORD.findall,
    )  # fmt: skip


def text_on_page(text: object) -> object:
    r"""A text as the page shows it: printable, and with paths relative to the working directory.

    Characters that control a terminal, reverse text or cannot be encoded are written out (`\x1b`): they may
    be in the name of a class, and pages are also read with `cat`. A home is `~`, because pages are sent
    around and a home contains a name. All texts are treated alike, since paths are in commands, messages,
    tracebacks and logs. A shell does not expand `~` inside quotes, so it is put before them.
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
    """Patterns and what they are replaced by, in the order in which they apply."""
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
    """The same lists and mappings with texts as the page shows them, and shorter numbers: a plot has 1,000
    pixels, and a float 17 digits.

    Texts are changed one by one, because in JSON the letter of an escape (`\\n`) may stand right before a
    path and hide where it begins.
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
    """The templates: all are escaped, and a missing name is an error instead of an empty text."""
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

    A hash is of the exact text between the tags, so the template must not add whitespace to a script.
    Plotly sets styles on elements, which needs 'unsafe-inline' for styles.
    """
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts if script)
    return f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {hashes}"


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data_uri(figure: Figure) -> str:
    return f"data:image/{figure.format};base64,{base64.b64encode(figure.content).decode()}"
