"""Numbers of an experiment as named columns, and the CSV they become."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import equinox as eqx

from bmaml.io.files import write_atomically


class Numbers(eqx.Module):
    """Rows of an experiment under named columns."""

    columns: tuple[str, ...] = eqx.field(static=True, converter=tuple)
    rows: list[tuple] = eqx.field(static=True)

    def where(self, **equal) -> list[dict]:
        """Return the rows, as mappings, whose columns have the given values."""
        named = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return [row for row in named if all(row[k] == v for k, v in equal.items())]

    def values(self, column: str, **equal) -> list:
        """Return one column of the rows that `where` gives."""
        return [row[column] for row in self.where(**equal)]

    def distinct(self, column: str, **equal) -> list:
        """Return the different values of a column of the rows that `where` gives, in order of first appearance."""
        return list(dict.fromkeys(self.values(column, **equal)))

    def write(self, path: Path) -> None:
        """Write the rows as CSV, whole or not at all."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_plain(row) for row in self.rows])
        write_atomically(path, text.getvalue())


def _plain(row: Sequence) -> list:
    return [f"{v:.6g}" if isinstance(v, float) else v for v in row]
