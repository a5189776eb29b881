"""What a page can download: the given points and the predictions, as CSV with all digits."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np

from bmaml.explore.looks import curve_rows, plane_rows
from bmaml.explore.page import Page
from bmaml.explore.subjects import AbstractSubject


def points_csv(page: Page) -> str:
    """Return the given points of `page` as a CSV: the inputs and the outcome, in the columns' own names and units."""
    first = page.first
    rows = np.reshape(np.array(page.points.x, float), (len(page.points), len(first.inputs)))
    columns = [*_cells(first, rows), first.outcome.cells(np.array(page.points.y, float))]
    return _text([[axis.name for axis in (*first.inputs, first.outcome)], *zip(*columns, strict=True)])


def predictions_csv(page: Page) -> str:
    """Return the predictions that `page` shows as a CSV.

    Rows: the curve and the given points, and the plane over two inputs. Ends of intervals stand along the curve, to
     about a hundredth of a deviation.
    """
    names = [axis.name for axis in page.first.inputs]
    ends = ("low90", "low50", "high50", "high90")
    lines: list[Any] = [["model", "at", *names, "mean", "std", *ends]]
    for subject, looks in zip(page.subjects, page.looks, strict=True):
        given = np.reshape(np.array(page.points.x, float), (len(page.points), len(subject.inputs)))
        ends_along = [getattr(looks.bands, end) for end in ends]
        parts: list[tuple] = [("curve", curve_rows(subject, page.view), looks.mean, looks.std, ends_along)]
        parts.append(("given", given, *looks.given, None))
        if looks.plane is not None:
            parts.append(("plane", plane_rows(subject), *looks.plane, None))
        for kind, rows, mean, std, bands in parts:
            known = [[""] * len(rows)] * len(ends) if bands is None else bands
            told = [[subject.title] * len(rows), [kind] * len(rows), *_cells(subject, rows), mean, std, *known]
            lines += zip(*told, strict=True)
    return _text(lines)


def _cells(subject: AbstractSubject, rows: np.ndarray) -> list[np.ndarray]:
    return [axis.cells(rows[:, i]) for i, axis in enumerate(subject.inputs)]


def _text(lines: list) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()
