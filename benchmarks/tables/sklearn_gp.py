"""A hierarchical Gaussian process as one writes it with scikit-learn: a shared function, and one for each task around it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from data import Question, Rows, Spec, design
from scipy.linalg import cholesky, solve_triangular
from scores import Answer, normal

# Rows that the kernel is fitted on, and that a prediction knows. Whole tasks are taken.
_FITTED, _KNOWN = 400, 1000
# Lengths along the number of the task: tasks are alike, and tasks have nothing in common.
_ALIKE, _APART = 1e6, 1e-3


def gaussian_process(train: Rows, spec: Spec):
    """Return a Gaussian process whose kernel sums what tasks share, what is a task's own, a task's level and noise.

    Scales, and the lengths of each input, are those of most marginal likelihood. A prediction knows the training rows and the
    given rows of the new task. This is the model of Hensman et al. (2013, https://doi.org/10.1186/1471-2105-14-252).
    """
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    like, y = train.columns, train.columns[spec.y]
    centre, scale = y.mean(), y.std()

    def inputs(columns: dict[str, np.ndarray], task: np.ndarray) -> np.ndarray:
        return np.column_stack([task.astype(float), design(columns, spec, like)])

    width = design(like, spec, like).shape[1]

    def along(length: float, others: bool) -> RBF:
        fixed, free = (length, length * (1 + 1e-9)), ((0.05, 50.0) if others else (_ALIKE, _ALIKE * (1 + 1e-9)))
        lengths = np.array([length, *[1.0 if others else _ALIKE] * width])
        return RBF(lengths, np.array([fixed, *[free] * width]))  # pyright: ignore[reportArgumentType]

    def size(start: float) -> ConstantKernel:
        return ConstantKernel(start, (1e-6, 1e3))

    kernel = size(1.0) * along(_ALIKE, True) + size(0.3) * along(_APART, True) + size(0.3) * along(_APART, False)
    kernel = kernel + WhiteKernel(0.1, (1e-6, 1e2))
    order = np.random.default_rng(0).permutation(np.unique(train.task))

    def first(most: int) -> Rows:
        """Return the rows of as many tasks as have `most` rows together."""
        sizes = np.cumsum([(train.task == task).sum() for task in order])
        return train.take(np.isin(train.task, order[: max(2, int(np.searchsorted(sizes, most, "right")))]))

    some, known = first(_FITTED), first(_KNOWN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = GaussianProcessRegressor(kernel, alpha=1e-8, random_state=0)
        found.fit(inputs(some.columns, some.task), (some.columns[spec.y] - centre) / scale)
    fitted: Any = found.kernel_
    x = inputs(known.columns, known.task)
    root = cholesky(fitted(x) + 1e-8 * np.eye(len(x)), lower=True)
    rest = solve_triangular(root, (known.columns[spec.y] - centre) / scale, lower=True)

    def answer(question: Question) -> Answer:
        count = question.count
        # No training task has this number.
        parts = [inputs(rows.columns, np.full(len(rows.task), -1)) for rows in (question.given, question.asked)]
        new = np.concatenate(parts)
        half = solve_triangular(root, fitted(x, new), lower=True)
        mean, covariance = half.T @ rest, fitted(new) - half.T @ half + 1e-8 * np.eye(len(new))
        gain = np.linalg.solve(covariance[:count, :count], covariance[:count, count:]).T
        given = (question.given.columns[spec.y] - centre) / scale
        mean, cross = mean[count:] + gain @ (given - mean[:count]), covariance[:count, count:]
        variance = np.maximum(np.diag(covariance)[count:] - (gain.T * cross).sum(0), 1e-10)
        return normal(centre + scale * mean, scale * np.sqrt(variance), question.asked.columns[spec.y], spec.step)

    return lambda asked: [answer(question) for question in asked]
