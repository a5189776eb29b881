"""What a model answers at the points that a user gave: all numbers that a page draws, asked in shapes that never change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from bmaml.data import length_class
from bmaml.distributions import AbstractContinuous
from bmaml.errors import InputError
from bmaml.explore.quick import quick_quantiles
from bmaml.explore.subjects import AbstractAdapted, AbstractSubject, Bands
from bmaml.inference.acquisitions import ACQUISITIONS
from bmaml.inference.compiled import CompiledPosterior
from bmaml.inference.posteriors import AbstractPosterior, ParticlePosterior, knows_noise, unwrapped
from bmaml.learners.conjugate import ConjugatePosterior
from bmaml.learners.pooled import PooledPosterior

# Given points, at most: programs are compiled for so many.
MOST = 32
# Rows of a curve.
GRID = 95
# Draws of functions, and the most particles that are drawn.
FUNCTIONS = 24
# Rows among which the next point is chosen: every other one of a curve, or those of a plane's coarse grid.
POOL = (GRID + 1) // 2
SIDE = 22
_POOL_SIDE = 11
_LEVELS = (0.05, 0.25, 0.75, 0.95)
WORTH = ("variance", "information", "reduction")


@dataclass
class Points:
    """The points that a user gave: `x` of each, as one number for each input, and `y`."""

    x: list[tuple[float, ...]] = field(default_factory=list)
    y: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.y)

    def add(self, x: tuple[float, ...], y: float) -> None:
        """Add a point.

        Raises: InputError if there are as many as programs are compiled for.
        """
        if len(self) >= MOST:
            raise InputError(f"there are {MOST} points already: delete one first.")
        self.x.append(tuple(float(value) for value in x))
        self.y.append(float(y))

    def move(self, index: int, x: tuple[float, ...], y: float) -> None:
        """Move point `index` to inputs `x` and outcome `y`."""
        self.x[index], self.y[index] = tuple(float(value) for value in x), float(y)

    def delete(self, index: int) -> None:
        """Remove point `index`."""
        del self.x[index], self.y[index]

    def clear(self) -> None:
        """Remove all points."""
        self.x.clear()
        self.y.clear()


@dataclass
class View:
    """Where a user looks.

    - `fixed`: the value of each input where it does not run along the curve.
    - `at`: the place on the curve whose numbers are shown.
    - `steps`: number of inner steps (None: the model's own).
    """

    fixed: list[float]
    at: float
    steps: int | None = None


class Looks(NamedTuple):
    """Everything that is drawn of a model at some points.

    - `mean`, `std`, `bands`: the prediction along the curve; the bands are precise enough to draw.
    - `given`: mean and standard deviation at the given points.
    - `at`: mean, standard deviation and exact intervals at the place asked for.
    - `functions`: draws of the function along the curve, or of each particle, shape (draws, rows).
    - `particles`: whether `functions` are particles.
    - `worth`: what a measurement at each row of the pool is worth, by acquisition.
    - `weights`: weight of each expert, empty if there are none.
    - `plane`: mean and standard deviation on a grid over two inputs, None for one.
    """

    mean: np.ndarray
    std: np.ndarray
    bands: Bands
    given: tuple[np.ndarray, np.ndarray]
    at: tuple[float, float, Bands]
    functions: np.ndarray
    particles: bool
    worth: dict[str, np.ndarray]
    weights: np.ndarray
    plane: tuple[np.ndarray, np.ndarray] | None


def start_view(subject: AbstractSubject) -> View:
    """Return the view of `subject` that a page begins with: the middle of each number, and the first level of a category."""
    fixed = [0.0 if axis.levels else axis.middle for axis in subject.inputs]
    return View(fixed, fixed[subject.inputs.index(subject.drawn[0])])


def along(subject: AbstractSubject, view: View, values: np.ndarray) -> np.ndarray:
    """Return rows of inputs of `subject`, shape (rows, inputs).

    The first drawn input has `values`, and the others those of `view`.
    """
    rows = np.tile(view.fixed, (len(values), 1))
    rows[:, subject.inputs.index(subject.drawn[0])] = values
    return rows


def curve_rows(subject: AbstractSubject, view: View) -> np.ndarray:
    """Return the rows of inputs of `subject` along the curve that `view` shows."""
    return along(subject, view, subject.drawn[0].grid(GRID))


def plane_rows(subject: AbstractSubject, side: int = SIDE) -> np.ndarray:
    """Return the rows of a grid of `side` times `side` over both drawn inputs of `subject`, the first input along a line."""
    first, second = subject.drawn
    return np.stack([part.ravel() for part in np.meshgrid(first.grid(side), second.grid(side))], 1)


def pool_rows(subject: AbstractSubject, view: View) -> np.ndarray:
    """Return the rows of inputs of `subject` among which the next point is chosen, seen from `view`."""
    return plane_rows(subject, _POOL_SIDE) if len(subject.drawn) == 2 else curve_rows(subject, view)[::2]


def look(subject: AbstractSubject, points: Points, view: View) -> Looks:
    """Return what is drawn of `subject` once it has adapted to `points`, seen from `view`.

    Raises: InputError if the model cannot adapt to them or its answer is not finite.
    """
    count = len(points)
    given = np.reshape(np.array(points.x, float), (count, len(subject.inputs)))
    adapted = subject.adapted(given, np.array(points.y, float), view.steps)
    curve, place = curve_rows(subject, view), along(subject, view, np.array([view.at]))
    (mean, std), ((own,), (spread,)) = adapted.moments(curve), adapted.moments(place)
    none = (np.zeros(0), np.zeros(0))
    ends, drawn, worth = _beside(adapted, curve, pool_rows(subject, view), count)
    inner = unwrapped(adapted.posterior)
    return Looks(
        *(mean, std, adapted.bands(curve) if ends is None else ends),
        *(_at(adapted, given) if count else none, (float(own), float(spread), adapted.bands(place))),
        *(drawn, isinstance(inner, ParticlePosterior), worth, _weights(inner)),
        adapted.moments(plane_rows(subject)) if len(subject.drawn) == 2 else None,
    )


def _at(adapted: AbstractAdapted, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation at `rows`, filled up to one of a few lengths, since each has programs of its own."""
    mean, std = adapted.moments(rows[np.arange(length_class(len(rows))) % len(rows)])
    return mean[: len(rows)], std[: len(rows)]


def _beside(
    adapted: AbstractAdapted, curve: np.ndarray, pool: np.ndarray, count: int
) -> tuple[Bands | None, np.ndarray, dict[str, np.ndarray]]:
    """Return the bands and the functions along the curve in the outcome's units, and what each row of the pool is worth."""
    posterior = adapted.posterior
    posterior = posterior.inner if isinstance(posterior, CompiledPosterior) else posterior
    names = tuple(name for name in WORTH if name != "information" or knows_noise(posterior))
    key = jax.random.fold_in(jax.random.key(0), count)
    ends, drawn, worth = _asked(posterior, adapted.encoded(curve), adapted.encoded(pool), key, names, adapted.quick)
    bands = None if ends is None else Bands(*(adapted.decoded(np.asarray(end)) for end in ends))
    return bands, adapted.decoded(np.asarray(drawn)), {name: np.asarray(values) for name, values in worth.items()}


@eqx.filter_jit
def _asked(
    posterior: AbstractPosterior, curve: Array, pool: Array, key: PRNGKeyArray, names: tuple[str, ...], quick: bool
) -> tuple[Array | None, Array, dict[str, Array]]:
    inner, predictive = unwrapped(posterior), posterior.predict(curve)
    if isinstance(inner, ParticlePosterior):
        drawn = jax.vmap(inner.model.predictive, (0, None))(inner.params, curve).mean[:FUNCTIONS]
    else:
        drawn = posterior.sample_functions(curve, key=jax.random.key(0), count=FUNCTIONS)
    worth = {name: ACQUISITIONS[name](posterior, pool, key=jax.random.fold_in(key, 0)) for name in names}
    ends = None
    if quick and isinstance(predictive, AbstractContinuous):
        ends = quick_quantiles(predictive, jnp.asarray(_LEVELS, pool.dtype))
    return ends, drawn, worth


def _weights(posterior: AbstractPosterior) -> np.ndarray:
    if isinstance(posterior, PooledPosterior):
        return np.concatenate([np.asarray(part) for part in posterior.weights])
    if isinstance(posterior, ConjugatePosterior):
        return np.asarray(jax.nn.softmax(jnp.asarray(posterior.log_weights)))
    return np.zeros(0)
