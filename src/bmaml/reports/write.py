"""A report as a file: HTML that holds everything it shows, Markdown without pictures, or JSON with the numbers alone."""

from __future__ import annotations

import base64
import datetime
import json
import math
import re
from pathlib import Path
from typing import Any

from bmaml.errors import InputError
from bmaml.io.files import write_atomically
from bmaml.plots.style import as_svg
from bmaml.reports.parts import ModelReport, Picture

FORMATS = (".html", ".md", ".json")
"""Endings of the files that a report can be."""
# What Markdown gives a meaning to.
_MARKED = re.compile(r"([\\`*_{}\[\]<>#|~&$])")


def check_format(path: Path) -> None:
    """Check that a report can be written as the kind of file that the ending of `path` names.

    Raises: InputError for another ending.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path} ends in {path.suffix or 'nothing'!r}: give a name that ends in {', '.join(FORMATS)}.")


def write_report(report: ModelReport, path: str | Path) -> None:
    """Write `report` to the file `path`, whole or not at all, as the ending of its name says: .html, .md or .json.

    The HTML file holds its pictures, and opening it asks for no other file.
    Raises: InputError for another ending, if the file cannot be written, or if Jinja is not installed (not for JSON).
    """
    path = Path(path)
    check_format(path)
    content = {".html": as_html, ".md": as_markdown, ".json": as_json}[path.suffix.lower()](report)
    try:
        write_atomically(path, content)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror or error}): give another file.") from error


def as_html(report: ModelReport) -> str:
    """Return `report` as one HTML page."""
    return _rendered("report.html.jinja", report, escape=True)


def as_markdown(report: ModelReport) -> str:
    """Return `report` as Markdown, with the tables that the pictures are drawn from."""
    return _rendered("report.md.jinja", report, escape=False)


def as_json(report: ModelReport) -> str:
    """Return the numbers of `report` as JSON. What is not a number becomes null."""
    head: dict[str, Any] = {"title": report.title, "in_short": report.in_short, "warnings": report.warnings}
    return json.dumps(_finite(head | report.numbers), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rendered(template: str, report: ModelReport, *, escape: bool) -> str:
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise InputError("a report needs Jinja, which is not installed: pip install 'bmaml[report]', or write JSON.") from error
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("bmaml.reports"),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"md": _plain, "picture": _data_uri}
    return made.get_template(template).render(report=report, date=datetime.date.today().isoformat())


def _plain(text: str) -> str:
    """Return `text` so that Markdown shows it as it is."""
    return _MARKED.sub(r"\\\1", " ".join(str(text).split()))


def _data_uri(picture: Picture) -> str:
    """Return the address of a picture that the page itself holds."""
    return "data:image/svg+xml;base64," + base64.b64encode(as_svg(picture.draw())).decode()
