"""What a page says in HTML. Every name is escaped, because a column may be called anything."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bmaml.explore.looks import Looks
from bmaml.explore.subjects import AbstractSubject


def head(subjects: Sequence[AbstractSubject], links: str) -> str:
    """Return the head of the page of `subjects`: what it shows and how, and `links` to other pages."""
    names = " and ".join(f"<b>{escape(subject.title)}</b>" for subject in subjects)
    how = "Click in a picture to add a point, drag it to move it, click twice to delete it, or type into the table below."
    return f'<div style="font-size: 18px">Exploring {names}</div><div>{how} {links}</div>'


def files(token: str) -> str:
    """Return links to the files of the page with this secret `token`."""
    links = (f'<a href="download/{what}.csv?page={token}" download>{what}.csv</a>' for what in ("points", "predictions"))
    return f"<b>Download</b> {' '.join(links)}"


def numbers(subjects: Sequence[AbstractSubject], looks: Sequence[Looks], at: float) -> str:
    """Return a table of what each of `subjects` says at the place `at` on the curve, in its `looks`."""
    axis, rows = subjects[0].drawn[0], []
    for subject, found in zip(subjects, looks, strict=True):
        mean, std, bands = found.at
        pairs = ((bands.low50[0], bands.high50[0]), (bands.low90[0], bands.high90[0]))
        ends = [f"{low:.6g} to {high:.6g}" for low, high in pairs]
        cells = "".join(f"<td>{cell}</td>" for cell in (escape(subject.title), f"{mean:.7g}", f"{std:.7g}", *ends))
        rows.append(f"<tr>{cells}</tr>")
    head = "".join(f'<th style="text-align: left">{t}</th>' for t in ("model", "mean", "deviation", "50%", "90%"))
    where = f"At {escape(axis.name)} = {escape(axis.text(at))}"
    return f'<b>{where}</b><table style="border-spacing: 10px 0"><tr>{head}</tr>{"".join(rows)}</table>'
