"""The functions of the inputs that the shared mean and the tasks' deviations are made of: lines, bends and products."""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmaml.errors import InputError
from bmaml.io.registry import register

# What an input is: it varies within tasks and has many values; varies within tasks and has few; is constant in each task.
Role = Literal["curve", "line", "task"]
_ROLES = ("curve", "line", "task")
# Knots of a bent input.
KNOTS = 6
# More products would cost more than they tell.
_MOST_PRODUCTS = 48
# With more inputs than this the noise depends on curves alone.
_MOST_NOISY = 6
# A column counts as constant in each task if its variance within tasks is below this share of all its variance.
_CONSTANT = 1e-8


class Knots(eqx.Module):
    """Where the bends of the inputs are, fitted on training rows. The leading axis runs over the inputs that are curves.

    - `places`: knots of a natural cubic spline.
    - `line`: intercept and slope of each bend, which are taken out.
    - `mix`: makes the bends uncorrelated over the training rows, with variance 1.
    """

    places: Float[Array, "*trainings curves knots"]
    line: Float[Array, "*trainings curves 2 bends"]
    mix: Float[Array, "*trainings curves bends bends"]


@register("learner/hierarchical-basis")
class Basis(eqx.Module):
    """The layout of the functions. `roles` says what each input is.

    Raises: InputError for an unknown role.
    """

    roles: tuple[Role, ...] = eqx.field(static=True)

    def __check_init__(self):
        unknown = [role for role in self.roles if role not in _ROLES]
        if unknown:
            raise InputError(f"an input's role is {unknown[0]!r}: use one of {', '.join(_ROLES)}.")

    def _of(self, *roles: Role) -> np.ndarray:
        return np.array([i for i, role in enumerate(self.roles) if role in roles], int)

    @property
    def curves(self) -> np.ndarray:
        """Numbers of the inputs that are curves."""
        return self._of("curve")

    @property
    def varying(self) -> np.ndarray:
        """Numbers of the inputs that vary within tasks."""
        return self._of("curve", "line")

    @property
    def noisy(self) -> np.ndarray:
        """Numbers of the inputs that the noise may depend on: all, or the curves if there are many inputs."""
        return np.arange(len(self.roles)) if len(self.roles) <= _MOST_NOISY else self.curves

    @property
    def products(self) -> list[tuple[int, int]]:
        """Pairs of inputs whose product is a function: an input that varies with one that does not, and two curves."""
        curves, tasks = self.curves.tolist(), self._of("task", "line").tolist()
        pairs = [(a, b) for a in curves for b in tasks]
        pairs += [(a, b) for i, a in enumerate(curves) for b in curves[i + 1 :]]
        return pairs if len(pairs) <= _MOST_PRODUCTS else []

    @property
    def groups(self) -> np.ndarray:
        """The group of each function of the mean: 0 lines in inputs that vary, 1 in the others, 2 bends, 3 products."""
        lines = [1 if role == "task" else 0 for role in self.roles]
        bends = len(self.curves) * (KNOTS - 2)
        return np.array([0, *lines, *[2] * bends, *[3] * len(self.products)])

    def bends(self, knots: Knots, x: Float[Array, "n inputs"]) -> Float[Array, "n curves bends"]:
        """Return the bends of each curve at `x`. Outside of the `knots` they are straight."""
        column = x[:, self.curves]
        raw = _natural(knots.places[None], column[..., None])
        line = knots.line[None, :, 0] + knots.line[None, :, 1] * column[..., None]
        return jnp.einsum("ncb,cbd->ncd", raw - line, knots.mix)

    def mean(self, knots: Knots, x: Float[Array, "n inputs"]) -> Float[Array, "n functions"]:
        """Return the functions that the shared mean is made of, at `x`, for inputs that bend at `knots`."""
        pairs = np.array(self.products, int).reshape(-1, 2)
        bends = self.bends(knots, x).reshape(len(x), -1)
        return jnp.concatenate([jnp.ones_like(x, shape=(len(x), 1)), x, bends, x[:, pairs[:, 0]] * x[:, pairs[:, 1]]], 1)

    def lines(self, x: Float[Array, "n inputs"]) -> Float[Array, "n lines"]:
        """Return a constant and the inputs that vary within tasks, at `x`."""
        return jnp.concatenate([jnp.ones_like(x, shape=(len(x), 1)), x[:, self.varying]], 1)


def _natural(places: Array, x: Array) -> Array:
    """Return the bends of a natural cubic spline with knots `places` (last axis) at `x` (last axis of length 1)."""
    first, last, before = places[..., :-2], places[..., -1:], places[..., -2:-1]

    def cubic(knot: Array) -> Array:
        return jnp.maximum(x - knot, 0.0) ** 3

    def slope(knot: Array) -> Array:
        return (cubic(knot) - cubic(last)) / jnp.maximum(last - knot, 1e-6)

    return slope(first) - slope(before)


def fit_basis(x: np.ndarray, task: np.ndarray) -> tuple[Basis, Knots]:
    """Return the layout and the knots for inputs.

    - `x`: inputs of shape (rows, inputs), standardised.
    - `task`: number of the task of each row.
    """
    x = np.asarray(x, np.float64)
    roles: tuple[Role, ...] = tuple(_role(x[:, i], task) for i in range(x.shape[1]))
    basis = Basis(roles)
    fitted = [_fit_bends(x[:, i]) for i in basis.curves]
    if not fitted:
        bends = KNOTS - 2
        return basis, Knots(jnp.zeros((0, KNOTS)), jnp.zeros((0, 2, bends)), jnp.zeros((0, bends, bends)))
    return basis, Knots(*(jnp.asarray(np.stack(part), jnp.zeros(()).dtype) for part in zip(*fitted, strict=True)))


def _role(column: np.ndarray, task: np.ndarray) -> Role:
    counts = np.maximum(np.bincount(task), 1)
    centre = (np.bincount(task, column) / counts)[task]
    if ((column - centre) ** 2).mean() <= _CONSTANT * max(column.var(), 1e-30):
        return "task"
    return "curve" if len(np.unique(column)) >= KNOTS - 2 else "line"


def _fit_bends(column: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    levels = np.unique(column)
    places = np.quantile(levels, np.linspace(0.0, 1.0, KNOTS))
    # Half by values and half by rows: many equal values would put all knots on one of them.
    places = np.sort(0.5 * places + 0.5 * np.quantile(column, np.linspace(0.0, 1.0, KNOTS)))
    places = np.maximum.accumulate(places + 1e-4 * np.arange(KNOTS))
    raw = np.asarray(_natural(jnp.asarray(places[None]), jnp.asarray(column[:, None])), np.float64)
    design = np.stack([np.ones_like(column), column], 1)
    line = np.linalg.lstsq(design, raw, rcond=None)[0]
    values, vectors = np.linalg.eigh(np.cov(raw - design @ line, rowvar=False))
    strength = np.where(values > 1e-9 * values.max(), 1 / np.sqrt(np.maximum(values, 1e-30)), 0.0)
    return places, line, vectors * strength
