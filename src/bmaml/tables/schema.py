"""What a table's columns mean and how they become arrays. A schema is fitted on training tasks and saved with the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from bmaml.errors import InputError
from bmaml.likelihoods import FAMILIES, NORMAL
from bmaml.tables.columns import Column, side_by_side
from bmaml.tables.fit_columns import INPUT_RATIO, OUTPUT_RATIO, Wanted, first_known, fit_input, spread, with_level
from bmaml.tables.limits import with_limits
from bmaml.tables.outcomes import check_trials, family_of, fit_outcome, fit_side
from bmaml.tables.roles import ColumnRoles, check_names
from bmaml.tables.table import Reading, Table
from bmaml.tables.task_labels import say_labels, task_codes
from bmaml.tasks.base import Selection

# Multiples of it, modulo 1, are spread evenly, so that tasks of one shape are seen from different rows.
_GOLDEN = 0.6180339887498949
# A row's value in each column whose level is taken out, by name: of one task, or one for each row of a table.
References: TypeAlias = Mapping[str, np.ndarray] | Mapping[str, float]


@dataclass(frozen=True)
class Schema:
    """The columns of a table and their encodings.

    Everything inside a model is standardised. The `decode_*` methods return answers to the table's units.

    - `task`: name of the task column.
    - `inputs`, `outputs`: encodings of the columns.
    - `order`: name of the column that orders a task's rows, or None.
    - `within`: names of the columns that a task is nested in, such as the school of a class.
    - `selection`: which rows of a task are given.
    - `reading`: how cells are read.
    - `order_form`: how the order column becomes a number.
    - `family`: name of the family of the outcomes.
    - `side`: encoding of the column with what else the family must know of a row, such as an exposure, or None. It is the last
      encoded input.
    - `upper`: name of the column with the upper ends of outcomes that are only known up to limits, or None.
    """

    task: str
    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]
    order: str | None = None
    within: tuple[str, ...] = ()
    selection: Selection = "random"
    reading: Reading = field(default_factory=Reading)
    order_form: Column | None = None
    family: str = NORMAL.name
    side: Column | None = None
    upper: str | None = None

    @property
    def width(self) -> int:
        """Number of encoded input columns."""
        # A model needs an input, so a table without one has a column of zeros.
        own = max(1, sum(column.width for column in self.inputs))
        return own + (self.side is not None) + (len(self.outputs) if self.partial else 0)

    @property
    def partial(self) -> bool:
        """Whether a row may lack some of several outcomes. The last encoded inputs then say which ones are known."""
        return len(self.outputs) > 1 and any(column.gaps for column in self.outputs)

    @property
    def side_name(self) -> str:
        """What the side input is, such as `"exposure"`; "" if there is none."""
        return "" if self.side is None else FAMILIES.find(self.family).side or ""

    @property
    def needed(self) -> tuple[Column, ...]:
        """The columns that must be known of a row before its outcome is: the inputs and the side input."""
        return self.inputs if self.side is None or self.side.form == "reach" else (*self.inputs, self.side)

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the columns that must be known of a row before its outcome is."""
        return tuple(column.name for column in self.needed)

    @property
    def answers(self) -> tuple[Column, ...]:
        """The numbers that are predicted: the outputs, or of an outcome that is a class the probability of each class."""
        if self.outputs[0].form != "class":
            return self.outputs
        (column,) = self.outputs
        return tuple(Column(f"{column.name} = {level}") for level in column.levels)

    @property
    def means(self) -> np.ndarray:
        """Mean of each answer, in its units and beyond its origin."""
        return np.array([column.mean + column.origin for column in self.answers])

    @property
    def scales(self) -> np.ndarray:
        """Standard deviation of each answer, in its units."""
        return np.array([column.scale for column in self.answers])

    @property
    def task_columns(self) -> tuple[str, ...]:
        """Names of the columns that name a task, the outermost first."""
        return (*self.within, self.task)

    @property
    def relative(self) -> tuple[Column, ...]:
        """The columns whose level is taken out of each task."""
        return tuple(column for column in (*self.inputs, *self.outputs) if column.level is not None)

    def tasks(self, table: Table) -> tuple[np.ndarray, list[str]]:
        """Return the task of each row of `table` as its place in the list of tasks, and this list in order of appearance."""
        return task_codes(self.as_read(table), self.task_columns)

    def others(self, table: Table) -> list[str]:
        """Return the names of the columns of `table` that are neither tasks nor inputs nor outcomes."""
        known = {*self.task_columns, *(column.name for column in (*self.inputs, *self.outputs))}
        return [name for name in table.columns if name not in known]

    def encode(self, table: Table) -> tuple[np.ndarray, np.ndarray]:
        """Return `x` (rows, width) and `y` (rows, outputs) of `table` as float32.

        Where a column's level is taken out, each task is seen from one of its own rows.
        Raises: InputError that names file, column and line of a cell that does not fit.
        """
        references = self._own(table, *self.tasks(table))
        return self.encode_x(table, references), self.encode_y(table, references)

    def encode_x(self, table: Table, references: References | None = None) -> np.ndarray:
        """Return the standardised inputs of `table`, float32 of shape `(rows, width)`.

        `references` are needed for columns whose level is taken out.
        """
        table, known = self.as_read(table), references or {}

        def parts() -> Iterator[np.ndarray]:
            yield from (c.encode(table, known.get(c.name)) for c in self.inputs)
            if not self.inputs:
                yield np.zeros((len(table), 1))
            if self.side is not None:
                yield self.side.target(table)
            if self.partial:
                yield 1.0 - self.lacking(table)

        return side_by_side(len(table), self.width, parts())

    def lacking(self, table: Table) -> np.ndarray:
        """Return which outcomes each row of `table` lacks, of shape `(rows, outputs)`."""
        names = [column.name for column in self.outputs]
        return np.stack([table.empty(n) if n in table.columns else np.ones(len(table), bool) for n in names], 1)

    def encode_y(self, table: Table, references: References | None = None) -> np.ndarray:
        """Return the standardised outputs of `table`, float32 of shape `(rows, outputs)`. `references` are as in `encode_x`.
        An outcome that a row may lack is 0 where it does.
        """
        table, known = self.as_read(table), references or {}
        if self.side is not None and self.side.form == "trials":
            check_trials(table, self.outputs[0], self.side)
        parts = (c.target(table, known.get(c.name)) for c in self.outputs)
        found = side_by_side(len(table), len(self.answers), parts)
        return np.nan_to_num(found, copy=False) if self.partial else found

    def decode_value(self, value: ArrayLike, references: References | None = None) -> np.ndarray:
        """Return standardised means, quantiles or draws `value`, of shape `(..., outputs)`, in the table's units.

        Where a task's level is taken out of an output, it is added from `references`, or the mean of all tasks is.
        """
        own = self._own_levels(references)
        mean = np.array([0.0 if c.level is None else c.level[0] for c in self.answers])
        return np.asarray(value, np.float64) * self.scales + (self.means + np.where(np.isnan(own), mean, own))

    def unknown_levels(self, references: References | None = None) -> np.ndarray:
        """Return the standard deviation of a task's own level in each output, in the table's units, where no row tells it.

        It is 0 where the level is not taken out, or known from `references`. The shape is `(outputs,)`, or `(rows, outputs)`
        for references of rows.
        """
        std = np.array([0.0 if c.level is None else c.level[1] for c in self.answers])
        return np.where(np.isnan(self._own_levels(references)), std, 0.0)

    def _own_levels(self, references: References | None) -> np.ndarray:
        """Return what is known of the task's own level in each output: 0 where none is taken out, NaN where none is known."""
        known = references or {}
        own = [0.0 if c.level is None else known.get(c.name, np.nan) for c in self.answers]
        return np.stack(np.broadcast_arrays(*own), -1)

    def decode_std(self, std: ArrayLike) -> np.ndarray:
        """Return standardised standard deviations `std` in the table's units."""
        return np.asarray(std, np.float64) * self.scales

    def decode_log_prob(self, log_prob: ArrayLike) -> np.ndarray:
        """Return log densities `log_prob` of standardised targets (joint over outputs, in nats) as densities in the table's
        units.

        The change of units subtracts log(scale) for each output, so a density per metre differs from one per centimetre.
        """
        return np.asarray(np.asarray(log_prob, np.float64) - np.log(self.scales).sum())

    def targets(self, table: Table) -> np.ndarray:
        """Return the outcomes of `table` in their units as float64 of shape `(rows, answers)`: numbers, or indicators of
        classes.
        """
        table = self.as_read(table)
        parts = [c.target(table) if c.form == "class" else (c.raw(table) + c.origin)[:, None] for c in self.outputs]
        return np.concatenate(parts, 1)

    def as_read(self, table: Table) -> Table:
        """Return `table` with the fitted table's way of reading cells, but for what its own cells or reading say of numbers and
        dates.
        """
        fitted, own = self.reading, table.reading
        day_first = fitted.day_first if own.day_first is None else own.day_first
        columns = (*self.inputs, *self.outputs, *(column for column in (self.side, self.order_form) if column is not None))
        decimals = {column.name: column.decimal or fitted.decimal or "" for column in columns}
        table = table.read_by(replace(fitted, day_first=day_first, decimal=own.decimal), decimals)
        if self.upper is None or self.upper not in table.columns:
            return table
        return table.once(("limits of", self.upper), lambda: with_limits(table, self.outputs[0].name, str(self.upper)))

    def rows(self, table: Table) -> dict[str, np.ndarray]:
        """Return the row numbers of each task of `table`: tasks by name, rows in an order of their own.

        Rows are sorted by the order column. Ties, and all rows if there is no such column, are sorted by their values, so that
        the order in the file does not matter. Only rows that are given from the first on (`selection="first"`) keep the order
        of the file where no column gives another one.
        """
        return self._rows(self.as_read(table), *self.tasks(table))

    def task_orders(self, table: Table, codes: np.ndarray, count: int) -> list[np.ndarray]:
        """Return the row numbers of each of `count` tasks of `table`, in the order of `rows`.

        `codes` is the task of each row, as a number.
        """
        parts = self._rows(self.as_read(table), codes, [str(task) for task in range(count)])
        return [parts[str(task)] for task in range(count)]

    def names_task(self, table: Table) -> bool:
        """Whether `table` has the columns that name a task."""
        return all(name in table.columns for name in self.task_columns)

    def reference(self, table: Table) -> dict[str, float]:
        """Return what a task with the rows of `table` is seen from: the values of its first row in the `relative` columns."""
        if not self.relative:
            return {}
        table = self.as_read(table)
        order = self._rows(table, np.zeros(len(table), np.int64), [""])[""]
        return {column.name: first_known(column.raw(table)[order]) for column in self.relative if column.name in table.columns}

    def _own(self, table: Table, codes: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        """Return what the rows of each task are seen from: the first row of a forecast, else any row of the task."""
        if not self.relative:
            return {}
        table = self.as_read(table)
        return references(self.relative, table, codes, self._rows(table, codes, names), self.selection)

    def _rows(self, table: Table, codes: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
        keys = []
        if self.order is not None:
            keys.append(order_values(table, self))
        if self.order is not None or self.selection == "random":
            keys += [_sortable(column, table) for column in (*self.inputs, *self.outputs) if column.name in table.columns]
        order = np.lexsort([*reversed(keys)]) if keys else np.arange(len(table))
        order = order[np.argsort(codes[order], kind="stable")]
        parts = np.split(order, np.cumsum(np.bincount(codes, minlength=len(names)))[:-1])
        return {names[i]: parts[i] for i in sorted(range(len(names)), key=names.__getitem__)}

    def to_json(self) -> dict[str, Any]:
        """Return the schema as values that JSON can hold."""
        inputs, outputs = ([column.to_json() for column in part] for part in (self.inputs, self.outputs))
        form = None if self.order_form is None else self.order_form.to_json()
        own = {"task": self.task, "order": self.order, "within": list(self.within), "selection": self.selection}
        side = {"family": self.family, "upper": self.upper, "side": None if self.side is None else self.side.to_json()}
        return own | side | {"inputs": inputs, "outputs": outputs, "reading": self.reading.to_json(), "order_form": form}

    @staticmethod
    def from_json(values: dict[str, Any]) -> Schema:
        """Return the schema from `values`, which `to_json` wrote. Older versions wrote fewer of them.

        Raises: InputError if the values are not those of a schema.
        """
        try:
            inputs, outputs = (tuple(Column.from_json(c) for c in values[part]) for part in ("inputs", "outputs"))
            form = None if values.get("order_form") is None else Column.from_json(values["order_form"])
            reading = Reading.from_json(values["reading"]) if "reading" in values else Reading()
            within, selection = tuple(values.get("within", ())), values.get("selection", "random")
            side = None if values.get("side") is None else Column.from_json(values["side"])
            family = FAMILIES.find(values.get("family", NORMAL.name)).name
            own = (values["task"], inputs, outputs, values["order"], within, selection, reading, form)
            return Schema(*own, family, side, values.get("upper"))
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"the saved schema is damaged ({error}): fit and save the model again.") from error


def fit_schema(table: Table, roles: ColumnRoles) -> Schema:
    """Return the schema of `table` with these `roles` of its columns.

    Standardisation and levels come from the table's rows, so give the rows of training tasks.

    Raises: InputError for a missing or unfit column.
    """
    check_names(table, roles)
    codes, _ = task_codes(table, roles.task_columns)
    wanted = {name: Wanted(name in roles.categorical, name in roles.log) for name in roles.x}
    inputs = tuple(fit_input(table, name, codes, wanted[name]) for name in roles.x)
    family = family_of(table, roles.y, roles.family, roles.sides, roles.upper)
    outputs = tuple(fit_outcome(table, name, family, roles.levels, roles.partial) for name in roles.y)
    if any(column.gaps for column in outputs):
        outputs = tuple(replace(column, gaps=True) for column in outputs)
    *within, task = roles.task_columns
    own = (task, inputs, outputs, roles.order, tuple(within), roles.selection, table.reading)
    schema = Schema(*own, family=family.name, upper=roles.upper)
    if roles.order is not None:
        schema = replace(schema, order_form=_order_form(table, roles.order, codes))
        order_values(table, schema)
    say_labels(table, roles.task_columns)
    schema = _with_levels(table, schema)
    named = roles.sides | ({"limits": roles.y[0]} if family.limited else {})
    if family.side is None or family.side not in named:
        return schema
    return replace(schema, side=fit_side(table, named[family.side], family.side, schema.outputs[0]))


def references(
    columns: tuple[Column, ...], table: Table, codes: np.ndarray, rows: Mapping[str, np.ndarray], selection: Selection
) -> dict[str, np.ndarray]:
    """Return, for each row of a table, the value of one row of the same task in each of `columns`.

    - `columns`: encodings that take out a task's level.
    - `table`, `codes`: the rows, and the task of each.
    - `rows`: the row numbers of each task, in the task's order.
    - `selection`: `"first"` takes the first row of a task. Otherwise it is any row, the same for the same rows, because the
      rows that a new task gives may be any.
    """
    found = {}
    for column in columns:
        values = column.raw(table)
        own = np.full(int(codes.max()) + 1, np.nan)
        for number, part in enumerate(rows.values(), 1):
            start = 0 if selection == "first" else int(number * _GOLDEN % 1 * len(part))
            own[codes[part[0]]] = first_known(values[np.roll(part, -start)])
        found[column.name] = own[codes]
    return found


def order_values(table: Table, schema: Schema) -> np.ndarray:
    """Return the values of the order column of `table` in the form that `schema` gives it.

    Raises: InputError that names the first cell that does not fit.
    """
    form = Column(schema.order or "") if schema.order_form is None else schema.order_form
    return form.raw(schema.as_read(table))


def _sortable(column: Column, table: Table) -> np.ndarray:
    """Return a key that sorts rows by the values of a column."""
    if column.kind == "number":
        return replace(column, gaps=True).raw(table)
    codes, levels = table.coded(column.name, missing=True)
    ranks = {level: rank for rank, level in enumerate(sorted(levels))}
    return np.array([*(ranks[level] for level in levels), -1])[codes]


def _order_form(table: Table, name: str, codes: np.ndarray) -> Column:
    from bmaml.tables.fit_columns import form_of

    if form_of(table, name) == "category":
        table.numbers(name)
    column = fit_input(table, name, codes, Wanted())
    return replace(column, gaps=False)


def _with_levels(table: Table, schema: Schema) -> Schema:
    """Return the schema with the columns whose level is to be taken out of each task, since tasks differ far more than rows."""
    codes, names = schema.tasks(table)
    far = {}
    for columns, most in ((schema.inputs, INPUT_RATIO), (schema.outputs, OUTPUT_RATIO)):
        for column in columns:
            number = column.form in ("number", "date", "clock", "boolean") and column.kind == "number"
            # The level of an outcome that rows may lack stays, since the row that it would be counted from may lack it.
            if number and not column.long_tails and not (column in schema.outputs and column.gaps):
                within, means, between = spread(column.raw(table), codes)
                if between > most * within > 0:
                    far[column.name] = means
    if not far:
        return schema
    some = tuple(column for column in (*schema.inputs, *schema.outputs) if column.name in far)
    seen = references(some, table, codes, schema._rows(table, codes, names), schema.selection)

    def changed(column: Column) -> Column:
        if column.name not in far:
            return column
        return with_level(column, column.raw(table) - seen[column.name], far[column.name])

    return replace(schema, inputs=tuple(map(changed, schema.inputs)), outputs=tuple(map(changed, schema.outputs)))
