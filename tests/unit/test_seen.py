"""A model is not recalibrated on the tasks that it was fitted on, nor refused new ones that equal them by chance."""

import numpy as np
import pytest

from bmaml.errors import InputError
from bmaml.estimators.seen import check_unseen, sketch

RNG = np.random.default_rng(0)
FITTED = [RNG.normal(size=(rows, 2)) for rows in (2, 3, 6, 6, 12, 40)]


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows[::-1],
        lambda rows: rows.astype(np.float32),
        lambda rows: np.concatenate([rows, rows]),
        lambda rows: rows[1:] if len(rows) > 2 else rows,
        lambda rows: np.concatenate([rows, RNG.normal(size=(1, 2))]),
    ],
    ids=["turned", "single precision", "twice", "one row less", "one row more"],
)
def test_fitted_tasks_are_known_after_small_changes(change):
    with pytest.raises(InputError, match="fitted on 6 of these 6 tasks"):
        check_unseen([sketch(change(rows)) for rows in FITTED], [sketch(rows) for rows in FITTED], "tasks")


def test_new_tasks_are_not_known():
    check_unseen([sketch(rows + 0.5) for rows in FITTED], [sketch(rows) for rows in FITTED], "tasks")


def test_tasks_of_yes_or_no_may_be_equal_by_chance():
    fitted, new = RNG.integers(0, 2, (2, 60, 3)).astype(float)
    place = np.broadcast_to(np.arange(3.0), (60, 3))
    old, other = ([sketch(np.stack([place[i], y], 1)) for i, y in enumerate(part)] for part in (fitted, new))
    check_unseen(other, old, "tasks")
