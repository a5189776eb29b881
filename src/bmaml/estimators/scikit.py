"""What scikit-learn asks of an estimator besides its arguments: tags, the routing of metadata, and scores.

Nothing here needs scikit-learn unless scikit-learn itself asks. Estimators do not inherit from its classes, because it is
optional.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from bmaml.errors import InputError
from bmaml.tables import Table, read_table

Kind = Literal["regressor", "classifier"]


def unfitted(message: str) -> InputError:
    """Return the error of an estimator before `fit`, with the sentence `message`.

    Where scikit-learn is in use, the error is also of the class by which its tools know it.
    """
    if "sklearn" not in sys.modules:
        return InputError(message)
    from sklearn.exceptions import NotFittedError

    class UnfittedError(InputError, NotFittedError):
        """An estimator was asked before it was fitted."""

    return UnfittedError(message)


def tags(kind: Kind) -> Any:
    """Return the tags of an estimator of this `kind`, as scikit-learn 1.6 and later asks for them."""
    from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

    return Tags(
        estimator_type=kind,
        target_tags=TargetTags(required=True, multi_output=kind == "regressor", single_output=True),
        transformer_tags=None,
        classifier_tags=ClassifierTags(multi_class=True) if kind == "classifier" else None,
        regressor_tags=RegressorTags() if kind == "regressor" else None,
        input_tags=InputTags(two_d_array=True, string=True, categorical=True, allow_nan=True),
    )


def routing(owner: str) -> Any:
    """Return what `fit` and `score` of the class called `owner` ask for besides data: the task of each row, as `groups`, and
    how many rows of a task are `given`.
    """
    from sklearn.utils.metadata_routing import MetadataRequest

    asked = MetadataRequest(owner=owner)
    for method in (asked.fit, asked.score):
        method.add_request(param="groups", alias=True)
    asked.score.add_request(param="given", alias=True)
    asked.score.add_request(param="sample_weight", alias=None)
    return asked


def split_given(table: Table, groups: ArrayLike, given: int, first: bool, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return, for each task with more than `given` rows, the numbers of its given rows and of the others.

    - `table`: the rows. Which of them are given does not depend on their order, unless the first ones are.
    - `groups`: the task of each row.
    - `first`: whether a task's first rows are given, or random ones.
    - `seed`: seed of the random ones.

    Raises: InputError if a row has no task, or no task has more rows.
    """
    rng, parts = np.random.default_rng(seed), []
    labels = read_table({"groups": np.asarray(groups)}, "the data").texts("groups").astype(str)
    if len(labels) != len(table):
        raise InputError(f"groups has {len(labels)} values for {len(table)} rows: give the task of each row.")
    columns = [np.unique(np.array(table.shown(name), str), return_inverse=True)[1] for name in table.columns]
    ordered = np.arange(len(table)) if first or not columns else np.lexsort(columns)
    _, codes = np.unique(labels[ordered], return_inverse=True)
    for code in range(int(codes.max()) + 1 if len(codes) else 0):
        rows = ordered[codes == code]
        order = rows if first else rng.permutation(rows)
        if len(rows) > given:
            parts.append((order[:given], order[given:]))
    if not parts:
        raise InputError(f"no task has more than {given} rows to score on: give longer tasks, or given=0.")
    return parts


def scored(
    parts: list[tuple[np.ndarray, np.ndarray]], predicted: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of all rows that are not given, and their predictions.

    - `parts`: the given rows and the others of each task.
    - `predicted`: a function from a task's given rows and its other rows to predictions of the latter.
    """
    return np.concatenate([rest for _, rest in parts]), np.concatenate([predicted(*part) for part in parts])


def row_weights(weight: Any, rows: int) -> np.ndarray:
    """Return the `weight` of each of so many `rows`, 1 for None.

    Raises: InputError for weights that are not one finite number from 0 on for each row.
    """
    found = np.ones(rows) if weight is None else np.asarray(weight, np.float64)
    if found.shape != (rows,):
        raise InputError(f"sample_weight has shape {found.shape} for {rows} rows: give one number from 0 on for each row.")
    wrong = np.flatnonzero(~(np.isfinite(found) & (found >= 0)))
    if len(wrong) or not found.sum() > 0:
        what = (
            f"row {wrong[0]} (counted from 0) has a sample_weight of {found[wrong[0]]:g}"
            if len(wrong)
            else "sample_weight is all 0"
        )
        raise InputError(f"{what}: give one number from 0 on for each row, some of them above 0.")
    return found


def explained(y: np.ndarray, mean: np.ndarray, weight: np.ndarray) -> float:
    """Return the share of the variance of `y` that predictions `mean` explain (R squared), averaged over outcomes. `weight` is
    that of each row.
    """
    y, mean, each = (np.reshape(np.asarray(part, np.float64), (len(part), -1)) for part in (y, mean, weight))
    total = (each * (y - (each * y).sum(0) / each.sum()) ** 2).sum(0)
    left = (each * (y - mean) ** 2).sum(0)
    # As in scikit-learn: an outcome that never changes is explained if it is predicted exactly.
    return float(np.where(total > 0, 1 - left / np.where(total > 0, total, 1.0), np.where(left > 0, 0.0, 1.0)).mean())
