"""Which family an outcome belongs to, and how its cells are read."""

from __future__ import annotations

import warnings

import numpy as np

from bmaml.errors import InputError
from bmaml.likelihoods import FAMILIES, NORMAL, Family
from bmaml.tables.cells import coded, label, without_missing
from bmaml.tables.columns import BOOLEANS, Column
from bmaml.tables.fit_columns import fit_output, form_of
from bmaml.tables.table import Table, listed

# Words that say which of two levels is yes. Otherwise it is the later one.
_YES = {"yes", "y", "true", "t", "1", "positive", "pos", "case", "event", "success", "present", "dead", "died", "ill", "failed"}
_NO = {"no", "n", "false", "f", "0", "negative", "neg", "control", "none", "failure", "absent", "alive", "well", "ok"}
# Numbers with so many values at most, each of them in so many rows on average, look like counts or scores.
_FEW, _REPEATED = 100, 3


def family_of(table: Table, outputs: tuple[str, ...], wanted: str | None, exposure: str | None) -> Family:
    """Return the family of the outcomes.

    - `table`: the rows.
    - `outputs`: names of the columns of the outcomes.
    - `wanted`: name of a family. None takes "yes-no" for a single outcome with no more than two things in it (0 and 1, true and
      false, two words), and else "normal", with a warning if the numbers look like counts.
    - `exposure`: name of the column with the exposure, or None.

    Raises: InputError for an unknown family, or one that does not fit the outcomes or the exposure.
    """
    family = recognised(table, outputs) if wanted is None else FAMILIES.find(wanted)
    if family.likelihood is not None and len(outputs) > 1:
        raise InputError(
            f"family {family.name!r} is for one outcome, and y names {len(outputs)}: fit a model for each of them."
        )
    if exposure is not None and family.side != "exposure":
        fitting = [row.name for row in FAMILIES.known() if row.side == "exposure"]
        raise InputError(f"an exposure is for counts and the family is {family.name!r}: use family {' or '.join(fitting)}.")
    return family


def recognised(table: Table, outputs: tuple[str, ...]) -> Family:
    """Return the family that the cells of the columns `outputs` of `table` show, with a warning that says so."""
    if len(outputs) != 1:
        return NORMAL
    name = outputs[0]
    levels = _levels(table, name)
    text = form_of(table, name) in ("boolean", "category")
    if len(levels) == 2 and (text or set(levels) == {"0", "1"}):
        no, yes = _ordered(levels)
        warnings.warn(
            f"outcome {name!r} holds only {no} and {yes}: its probability of {yes} is learned (family yes-no).", stacklevel=4
        )
        return FAMILIES["yes-no"]
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


def fit_outcome(table: Table, name: str, family: Family) -> Column:
    """Return how the outcome column `name` of `table` becomes numbers for the `family`.

    Raises: InputError for a cell that does not fit, or a column that never changes.
    """
    if family.cells == "number":
        return fit_output(table, name)
    column = _two(table, name, family) if family.cells == "two" else _count(table, name)
    values = column.raw(table)
    if len(values) and (values == values[0]).all():
        raise InputError(
            f"{table.name}, outcome {name!r} is {table.shown(name)[0]} in every training row: there is nothing to learn; "
            "give a column that varies."
        )
    return column


def _levels(table: Table, name: str) -> list[str]:
    return sorted({label(text) for text in coded(without_missing(table.column(name), table.reading.of(name)))[1]})


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
        levels = sorted(levels, key=float)
    no, yes = levels if table.is_numeric(name) else _ordered(levels)
    return Column(name, form="two", levels=(no, yes), note=f"{no} or {yes}, as 0 and 1 (family {family.name})")


def _count(table: Table, name: str) -> Column:
    values = Column(name, form="count").raw(table)
    return Column(name, form="count", note=f"count, {values.min():.0f} to {values.max():.0f}")
