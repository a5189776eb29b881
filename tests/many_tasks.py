"""The answers for several new tasks, one by one and together."""

import numpy as np

from bmaml.tables import new, read_table


def one_by_one(model, table, level=0.8, at=None):
    """Mean, deviation and both ends at each task's asked rows, and each task's surprise, by `adapt`."""
    found, shares = [], []
    for task in new.new_tasks(read_table(table), model.schema_, at):
        if len(task.asked):
            adapted = model.adapt(task.given) if len(task.given) else model.adapt()
            parts = [*adapted.predict(task.asked, return_std=True), *adapted.interval(task.asked, level)]
            found.append(np.stack([np.reshape(part, (len(task.asked), -1)) for part in parts]))
            shares.append(adapted.surprise())
    return np.concatenate(found, 1), shares


def together(model, table, level=0.8, at=None):
    """The same by `adapt_many`."""
    parts = list(model.adapt_many(table, level=level, at=at, checked=10))
    found = np.concatenate([np.stack([part.mean, part.std, part.low, part.high]) for part in parts], 1)
    return found, [share for part in parts for share in part.surprise]


def check_equal(model, table, at=None):
    """Tasks together have the numbers of tasks one by one, to rounding in single precision."""
    (found, shares), (expected, own) = together(model, table, at=at), one_by_one(model, table, at=at)
    scale = np.abs(expected).max((0, 1))
    np.testing.assert_allclose(found / scale, expected / scale, atol=2e-6)
    np.testing.assert_allclose(shares, own, rtol=1e-3, atol=1e-6)
