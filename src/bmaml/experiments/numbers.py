"""Numbers of an experiment in named columns, and their CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import equinox as eqx

from bmaml.io.files import write_atomically


class Numbers(eqx.Module):
    """Rows of an experiment (`rows`) under named `columns`."""

    columns: tuple[str, ...] = eqx.field(static=True, converter=tuple)
    rows: list[tuple] = eqx.field(static=True)

    def where(self, **equal) -> list[dict]:
        """Return, as mappings, the rows whose columns have the values in `equal`."""
        named = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return [row for row in named if all(row[k] == v for k, v in equal.items())]

    def values(self, column: str, **equal) -> list:
        """Return one `column` of the rows that `where(**equal)` returns."""
        return [row[column] for row in self.where(**equal)]

    def distinct(self, column: str, **equal) -> list:
        """Return the different values of a `column` in the rows that `where(**equal)` returns, in order of first appearance."""
        return list(dict.fromkeys(self.values(column, **equal)))

    def __add__(self, other: Numbers) -> Numbers:
        """Return these rows and those of `other`, which has the same columns."""
        assert self.columns == other.columns
        return Numbers(self.columns, self.rows + other.rows)

    def write(self, path: Path) -> None:
        """Write the rows as CSV to `path`, whole or not at all."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_plain(row) for row in self.rows])
        write_atomically(path, text.getvalue())


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table under the names of `head`, a line for each of `rows`; cells are shown as text."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def write_results(folder: Path, name: str, text: str, values: object) -> None:
    """Write the Markdown `text` and `values` as JSON into `folder`, which is made, as files called `name`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{name}.json", json.dumps(values, indent=1) + "\n")
    write_atomically(folder / f"{name}.md", text)


def _plain(row: Sequence) -> list:
    return [f"{v:.6g}" if isinstance(v, float) else v for v in row]
