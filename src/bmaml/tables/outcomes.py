"""Which family an outcome belongs to, and how its cells are read."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from bmaml.errors import InputError
from bmaml.likelihoods import FAMILIES, NORMAL, Family, Side
from bmaml.tables.cells import coded, label
from bmaml.tables.columns import BOOLEANS, Column
from bmaml.tables.fit_columns import NORMAL_QUARTILES, fit_output, form_of, given_order
from bmaml.tables.limits import has_limits, shown_limits
from bmaml.tables.number_marks import number_among
from bmaml.tables.table import Table, listed

# Words that say which of two levels is yes. Otherwise it is the later one.
_YES = {"yes", "y", "true", "t", "1", "positive", "pos", "case", "event", "success", "present", "dead", "died", "ill", "failed"}
_NO = {"no", "n", "false", "f", "0", "negative", "neg", "control", "none", "failure", "absent", "alive", "well", "ok"}
# Numbers with so many values at most, each of them in so many rows on average, look like counts or scores.
_FEW, _REPEATED = 100, 3
# Quartiles that lie nearer to each other, in standard deviations, are those of an outcome that mostly has one value.
_NARROW = 1e-6
# More ordered levels than this are better seen as numbers.
_MOST_LEVELS = 20
# Each class is a question that a model must learn to answer.
_MOST_CLASSES = 20
_SIDES: dict[Side, str] = {
    "exposure": "an exposure is for counts",
    "error": "a known error is for measurements",
    "weight": "a weight is for measurements",
    "trials": "a number of trials is for numbers of successes",
}
# Digits of single precision end at about so many trials.
_MOST_TRIALS = 100_000


def family_of(
    table: Table, outputs: tuple[str, ...], wanted: str | None, sides: Mapping[Side, str], upper: str | None = None
) -> Family:
    """Return the family of the outcomes.

    - `table`: the rows.
    - `outputs`: names of the columns of the outcomes.
    - `wanted`: name of a family. None takes the one that a column in `sides` is for, if there is only one. Otherwise the cells
      of a single outcome decide. Two things (0 and 1, true and false, two words) are "yes-no", and three words or more are
      "classes". Cells such as <0.1 have a family of limits. Other outcomes are "normal", with a warning if the numbers look
      like counts.
    - `sides`: names of the columns with what else is known of a row, by what they hold.
    - `upper`: name of the column with the upper ends of the outcomes, if there is one.

    Raises: InputError for an unknown family, or one that does not fit the outcomes or the further columns.
    """
    if len(sides) > 1:
        raise InputError(f"{' and '.join(sides)} are given, and no family knows of both: give one of them.")
    fitting = [row for row in FAMILIES.known() if row.side in sides]
    if wanted is None:
        family = fitting[0] if len(fitting) == 1 else recognised(table, outputs)
    else:
        family = FAMILIES.find(wanted)
    if family.likelihood is not None and len(outputs) > 1:
        raise InputError(
            f"family {family.name!r} is for one outcome, and y names {len(outputs)}: fit a model for each of them."
        )
    if sides and family not in fitting:
        names = " or ".join(row.name for row in fitting)
        raise InputError(f"{_SIDES[next(iter(sides))]} and the family is {family.name!r}: use family {names}.")
    if family.side in ("error", "weight", "trials") and not sides:
        raise InputError(
            f"family {family.name!r} must know the {family.side} of each row: give its column as --{family.side} "
            f"({family.side}= in Python)."
        )
    if upper is not None and not family.limited:
        names = " or ".join(row.name for row in FAMILIES.known() if row.limited)
        raise InputError(f"an upper end of the outcome is given and the family is {family.name!r}: use family {names}.")
    return family


def fit_side(table: Table, name: str, side: Side, outcome: Column) -> Column:
    """Return the encoding of the column `name` of `table` that holds a `side` input of the family of `outcome`.

    Raises: InputError that names the cell that does not fit.
    """
    if side == "error":
        column = Column(name, form="error", scale=outcome.scale)
        values = column.raw(table)
        return replace(column, note=f"error of each measurement, {values.min():.4g} to {values.max():.4g}")
    if side == "limits":
        column = Column(name, form="reach", scale=outcome.scale)
        return replace(column, note=shown_limits(column.raw(table)))
    column = Column(name, form="trials" if side == "trials" else "number", log=True)
    logs = column.raw(table)
    ends = f"{np.exp(logs.min()):.4g} to {np.exp(logs.max()):.4g}"
    if side in ("exposure", "trials"):
        return replace(column, note=f"{'exposure' if side == 'exposure' else 'number of trials'}, {ends}")
    return replace(column, mean=float(np.sort(logs).mean()), note=f"number of measurements in a row, {ends}")


def recognised(table: Table, outputs: tuple[str, ...]) -> Family:
    """Return the family that the cells of the columns `outputs` of `table` show, with a warning that says so."""
    if len(outputs) != 1:
        return NORMAL
    name = outputs[0]
    if has_limits(table, name):
        family = "censored-log" if (table.limits(name, missing=True)[0] > 0).all() else "censored"
        warnings.warn(
            f"outcome {name!r} has limits such as <0.1 among its cells: they are used as limits (family {family}).",
            stacklevel=4,
        )
        return FAMILIES[family]
    levels = _levels(table, name)
    text = form_of(table, name) in ("boolean", "category")
    if len(levels) == 2 and (text or set(levels) == {"0", "1"}):
        no, yes = _ordered(levels)
        warnings.warn(
            f"outcome {name!r} holds only {no} and {yes}: its probability of {yes} is learned (family yes-no).", stacklevel=4
        )
        return FAMILIES["yes-no"]
    some = number_among(levels) if text and not pa.types.is_dictionary(table.column(name).type) else None
    if some is not None:
        raise InputError(
            f"{table.name}, outcome {name!r} has cells such as {some!r}, which hold more than a number: write the numbers "
            "alone, with their unit in the column's name, or give the family (classes for labels)."
        )
    if 2 < len(levels) <= _MOST_CLASSES and form_of(table, name) == "category":
        shown = listed(levels, 6)
        if given_order(table, name, levels):
            warnings.warn(f"outcome {name!r} holds levels with an order ({shown}): it is of family ordered.", stacklevel=4)
            return FAMILIES["ordered"]
        warnings.warn(
            f"outcome {name!r} holds {len(levels)} words ({shown}): the probability of each is learned (family classes); if "
            "they have an order, use family ordered and give it as --levels LOWEST,...,HIGHEST (levels=[...] in Python).",
            stacklevel=4,
        )
        return FAMILIES["classes"]
    say_spikes(table, name)
    return NORMAL


def say_spikes(table: Table, name: str) -> None:
    """Warn if the column `name` of `table` holds few different whole numbers, on which a density has no meaning."""
    if not table.is_numeric(name) or len(_levels(table, name)) > _FEW:
        return
    values = table.numbers(name)
    several = np.unique(values)
    if len(several) * _REPEATED > len(values) or (values < 0).any() or (values % 1).any():
        return
    if several.tolist() == [0.0, 1.0]:
        found, use = "only 0 and 1", "family yes-no (method mixture) predicts the probability of 1"
    else:
        found, use = "few whole numbers from 0 on", "if they are counts, use family count (method mixture)"
    warnings.warn(f"outcome {name!r} holds {found}, and a density says little of them: {use}.", stacklevel=4)


def fit_outcome(table: Table, name: str, family: Family, levels: tuple[str, ...] = (), partial: bool = False) -> Column:
    """Return how the outcome column `name` of `table` becomes numbers for the `family`. `levels` are those of ordered outcomes,
    the lowest first. With `partial` cells may be empty.

    Raises: InputError for a cell that does not fit, or a column that never changes.
    """
    if partial and table.empty(name).any():
        empty = table.empty(name)
        column = fit_outcome(table.take(~empty), name, family, levels)
        return replace(column, gaps=True, note=f"{column.note}, missing in {int(empty.sum())} rows")
    if levels and family.cells != "ordered":
        raise InputError(f"levels are given and the family is {family.name!r}: use family ordered, or leave the levels out.")
    decimal = table.shown_mark(name)
    if family.cells == "number":
        column = replace(fit_output(table, name), decimal=decimal)
        return column if family.likelihood is None else _robust(table, column)
    fits = {
        "ordered": lambda: _in_order(table, name, levels),
        "two": lambda: _two(table, name, family),
        "classes": lambda: _classes(table, name),
        "count": lambda: _count(table, name),
        "limited": lambda: _limited(table, name),
    }
    column = fits.get(family.cells, lambda: _positive(table, name, family))()
    values = column.raw(table)
    if len(values) and (values == values[0]).all():
        raise InputError(
            f"{table.name}, outcome {name!r} is {table.shown(name)[0]} in every training row: there is nothing to learn; "
            "give a column that varies."
        )
    return replace(column, decimal=decimal)


def _levels(table: Table, name: str) -> list[str]:
    return sorted({label(text) for text in coded(table.column(name), table.reading.of(name))[1]})


def _ordered(levels: list[str]) -> tuple[str, str]:
    """Return two levels, yes last."""
    first, second = levels
    if (first.lower() in _YES and second.lower() not in _YES) or (second.lower() in _NO and first.lower() not in _NO):
        return second, first
    return first, second


def _two(table: Table, name: str, family: Family) -> Column:
    levels = _levels(table, name)
    if {level.lower() for level in levels} <= BOOLEANS.keys():
        return Column(name, form="boolean", note=f"yes or no, as 1 and 0 (family {family.name})")
    if len(levels) != 2:
        raise InputError(
            f"{table.name}, outcome {name!r} holds {len(levels)} different cells ({listed(levels, 6)}) and family "
            f"{family.name!r} is for two: give 0 and 1, true and false, or two words."
        )
    if table.is_numeric(name):
        levels = sorted(levels, key=lambda level: table.value(name, level))
    no, yes = levels if table.is_numeric(name) else _ordered(levels)
    return Column(name, form="two", levels=(no, yes), note=f"{no} or {yes}, as 0 and 1 (family {family.name})")


def _in_order(table: Table, name: str, given: tuple[str, ...]) -> Column:
    """Return the encoding of an outcome of ordered levels: those `given`, those of an ordered type, or numbers by size."""
    found = _levels(table, name)
    where = f"{table.name}, outcome {name!r} holds {len(found)} different cells ({listed(found, 6)})"
    levels = tuple(label(level.strip()) for level in given) or given_order(table, name, found)
    if not levels:
        if not table.is_numeric(name):
            raise InputError(f"{where} without an order: give it as --levels LOWEST,...,HIGHEST (levels=[...] in Python).")
        levels = tuple(sorted(found, key=lambda level: table.value(name, level)))
    unknown = sorted(set(found) - set(levels))
    if unknown or len(set(levels)) < len(levels):
        wrong = f"{unknown[0]!r} is none" if unknown else "one is named twice"
        raise InputError(f"{where} and the levels are {listed(levels, 12)}, of which {wrong}: name each level once.")
    if not 3 <= len(levels) <= _MOST_LEVELS:
        raise InputError(f"{where}, and ordered levels are 3 to {_MOST_LEVELS}: use family yes-no for two, or normal for many.")
    sizes = [table.value(name, level) for level in levels] if table.is_numeric(name) else []
    whole = bool(sizes) and sizes == [sizes[0] + i for i in range(len(sizes))]
    first = int(sizes[0]) if whole and not sizes[0] % 1 else 1
    shown = " < ".join(levels if len(levels) <= 6 else (*levels[:3], "...", levels[-1]))
    note = f"{len(levels)} levels in order, {shown}" + ("" if whole else f", as {first} to {first + len(levels) - 1}")
    return Column(name, form="ordered", levels=levels, origin=first, note=note)


def _classes(table: Table, name: str) -> Column:
    levels = _levels(table, name)
    if not 3 <= len(levels) <= _MOST_CLASSES:
        raise InputError(
            f"{table.name}, outcome {name!r} holds {len(levels)} different cells ({listed(levels, 6)}), and classes are 3 to "
            f"{_MOST_CLASSES}: use family yes-no for two, or join the rarest ones."
        )
    levels = sorted(levels, key=lambda level: table.value(name, level)) if table.is_numeric(name) else levels
    return Column(name, form="class", levels=tuple(levels), note=f"{len(levels)} classes, {listed(levels, 6)}")


def _robust(table: Table, column: Column) -> Column:
    """Return the encoding with centre and scale of the middle half of the rows, which rows far off do not move."""
    values = np.quantile(column.raw(table), [0.25, 0.5, 0.75])
    narrow = float(values[2] - values[0]) / NORMAL_QUARTILES
    return replace(column, mean=float(values[1]), scale=narrow) if narrow > _NARROW * column.scale else column


def _limited(table: Table, name: str) -> Column:
    column = Column(name, form="limited")
    values = column.raw(table)
    return replace(column, mean=float(np.sort(values).mean()), scale=float(np.sort(values).std()) or 1.0, note=_between(values))


def _between(values: np.ndarray, what: str = "number") -> str:
    return f"{what}, {values.min():.4g} to {values.max():.4g}"


def _positive(table: Table, name: str, family: Family) -> Column:
    column = Column(name, form="limited-positive" if family.limited else "positive")
    values = column.raw(table)
    scale = float(np.exp(np.sort(np.log(values)).mean()))
    return replace(column, scale=scale, note=_between(values, "number above 0"))


def check_trials(table: Table, outcome: Column, trials: Column) -> None:
    """Check that no row of `table` has more successes (`outcome`) than `trials`, nor too many trials to compute with.

    Raises: InputError that names the first such row.
    """
    if trials.name not in table.columns:
        return
    successes, several = outcome.raw(table), np.round(np.exp(trials.raw(table)))
    wrong = np.flatnonzero(successes > several)
    if len(wrong):
        row = wrong[0]
        raise InputError(
            f"{table.cell(outcome.name, row)} is {successes[row]:g} and its {trials.name!r} is {several[row]:g}: give at most "
            "as many successes as trials."
        )
    many = np.flatnonzero(several > _MOST_TRIALS)
    if len(many):
        raise InputError(
            f"{table.cell(trials.name, many[0])} is {several[many[0]]:.10g}, and a measured row may have at most "
            f"{_MOST_TRIALS:,} trials: give {_MOST_TRIALS:,} with the same share of successes, which tells as much."
        )


def _count(table: Table, name: str) -> Column:
    values = Column(name, form="count").raw(table)
    return Column(name, form="count", note=f"count, {values.min():.0f} to {values.max():.0f}")
