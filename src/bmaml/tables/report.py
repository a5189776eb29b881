"""How the columns of a table were read, for people."""

from __future__ import annotations

from bmaml.tables.schema import Schema
from bmaml.tables.table import Table, listed


def column_report(table: Table, schema: Schema) -> list[list[str]]:
    """Return a row for each column of `table` that `schema` names: the column, what it is used as, and how it was read."""
    names = schema.tasks(table)[1]
    rows = [["column", "used as", "read as"], [", ".join(schema.task_columns), "task", _tasks(table, schema, names)]]
    for role, columns in (("input", schema.inputs), ("outcome", schema.outputs)):
        for column in columns:
            # The note of an outcome says itself in how many rows it is missing.
            gaps = column.gaps and role == "input"
            empty = f"; empty in {int(table.empty(column.name).sum())} of {len(table)} rows" if gaps else ""
            rows.append([column.name, role, column.note + empty])
    if schema.side is not None:
        rows.append([schema.side.name, schema.side_name, schema.side.note])
    if schema.upper is not None:
        rows.append([schema.upper, "upper end", f"beside {schema.outputs[0].name}, the lower end"])
    if schema.order is not None and schema.order_form is not None and schema.order not in [row[0] for row in rows]:
        rows.append([schema.order, "order", schema.order_form.note])
    others = [name for name in table.columns if name not in {schema.order, *schema.task_columns, *(row[0] for row in rows)}]
    return [*rows, *([[", ".join(others), "not used", ""]] if others else [])]


def _tasks(table: Table, schema: Schema, names: list[str]) -> str:
    ways = [text for name in schema.task_columns for texts in table.spellings(name).values() for text in texts]
    joined = f"; {listed(ways, 4)} are spellings of the same labels" if ways else ""
    return f"{len(names)} tasks in {len(table)} rows{joined}"
