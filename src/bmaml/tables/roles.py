"""What each column of a table is for."""

from __future__ import annotations

from dataclasses import dataclass

from bmaml.errors import InputError
from bmaml.io.checked import check_fields
from bmaml.likelihoods import NORMAL, Side
from bmaml.tables.table import Table
from bmaml.tasks.base import Selection


@dataclass(frozen=True)
class ColumnRoles:
    """What each of a table's columns is for.

    - `task`: name of the task column, or several names: of the columns that a task is nested in, then of the task.
    - `x`, `y`: names of the input and output columns. Inputs of text become dates, times, booleans or categories. Without an
      input, a model learns how tasks differ in level.
    - `order`: name of the column that sorts each task's rows.
    - `categorical`: further inputs that are categories.
    - `log`: inputs whose logarithm is taken.
    - `selection`: `"first"` if a task's first rows are given, so that their order has a meaning.
    - `family`: name of the family of the outcomes (None: as they show).
    - `exposure`: name of the column with the exposure of counts, such as person-years.
    - `error`: name of the column with the standard deviation of each measurement's own error.
    - `weight`: name of the column with how many measurements each row is the mean of.
    - `trials`: name of the column with how many trials the successes of each row are of.
    - `upper`: name of the column with the upper ends of outcomes that are only known up to limits. `y` has the lower ends.
    - `partial`: whether a row may lack some of several outcomes.
    - `levels`: the levels of an ordered outcome, the lowest first. They are needed if they are words without a known order.
    """

    task: str | tuple[str, ...]
    x: tuple[str, ...]
    y: tuple[str, ...]
    order: str | None = None
    categorical: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    selection: Selection = "random"
    family: str | None = NORMAL.name
    exposure: str | None = None
    error: str | None = None
    weight: str | None = None
    trials: str | None = None
    upper: str | None = None
    levels: tuple[str, ...] = ()
    partial: bool = False

    def __post_init__(self) -> None:
        """Check the types of the fields, and that no column has two roles.

        Raises: InputError that names such a column and both roles.
        """
        check_fields(self)
        _check_once(self)

    @property
    def task_columns(self) -> tuple[str, ...]:
        """Names of the columns that name a task, the outermost first."""
        return (self.task,) if isinstance(self.task, str) else self.task

    @property
    def sides(self) -> dict[Side, str]:
        """Names of the columns with what else must be known of a row, by what they hold."""
        every: dict[Side, str | None] = {
            "exposure": self.exposure,
            "error": self.error,
            "weight": self.weight,
            "trials": self.trials,
        }
        return {side: name for side, name in every.items() if name is not None}

    @property
    def named(self) -> list[tuple[str, str]]:
        """The role and the name of each column that has one. The order of rows is left out, since an input may give it."""
        several = {"task": self.task_columns, "x": self.x, "y": self.y}
        ends = [] if self.upper is None else [("upper", self.upper)]
        return [*((role, name) for role, names in several.items() for name in names), *self.sides.items(), *ends]


def _check_once(roles: ColumnRoles) -> None:
    found: dict[str, str] = {}
    for role, name in roles.named:
        if name in found:
            raise _twice(name, found[name], role)
        found[name] = role
    # In an order by the outcome, the first rows of a task would tell of the others.
    if roles.order is not None and found.get(roles.order) in ("task", "y", "upper"):
        raise _twice(roles.order, found[roles.order], "order")


def _twice(name: str, first: str, second: str) -> InputError:
    """Return the error that the roles `first` and `second` name one column."""
    if first == second:
        what = f"{first} names the column {name!r} twice: name it once."
        return InputError(what, typed=f"--{what}")
    what = f"both name the column {name!r}, and a column has one role: give another column for one of them."
    return InputError(f"{first} and {second} {what}", typed=f"--{first} and --{second} {what}")


def check_names(table: Table, roles: ColumnRoles) -> None:
    """Check that `table` has the columns that `roles` name.

    Raises: InputError for a missing column.
    """
    if not roles.y:
        raise InputError("no output column was named: name one for y.")
    for name in [*(name for _, name in roles.named), *([] if roles.order is None else [roles.order])]:
        table.column(name)
    for name in [*roles.categorical, *roles.log]:
        if name not in roles.x:
            raise InputError(f"column {name!r} has an option (categorical or log) and is no input: add it to x.")
