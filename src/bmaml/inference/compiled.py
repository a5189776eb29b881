"""A posterior whose answers are compiled programs, so that an answer takes milliseconds outside compiled programs too."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, PRNGKeyArray

from bmaml.data import Data, check_finite, length_class, rows_of
from bmaml.distributions import AbstractDistribution, by_rows, take_rows
from bmaml.errors import InputError
from bmaml.inference.posteriors import AbstractNoisePosterior, AbstractPosterior, AbstractWrappedPosterior, noise_entropy
from bmaml.io.checked import Count, checked


class CompiledPosterior(AbstractWrappedPosterior, AbstractNoisePosterior):
    """A posterior that answers as `inner` does, by programs that are compiled once, and whose answers are finite.

    The rows of a question are padded to one of a few lengths, so a question of another length needs no new program. Inside a
    program of the caller's own, `inner` answers directly, and nothing is checked. `given` is the support that was adapted to.

    Outside of programs every method raises InputError for rows of another width than those given, for numbers that are not
    finite, and for an answer that is not finite.
    """

    inner: AbstractPosterior
    given: Data

    def predict(self, x):
        if isinstance(x, Tracer):
            return self.inner.predict(x)
        x = self._rows(x)
        if not len(x):
            return self.inner.predict(jnp.asarray(x))
        filled, finite = _predict(self.inner, jnp.asarray(x[np.arange(length_class(len(x))) % len(x)]))
        self._check(x, np.asarray(finite)[: len(x)], "prediction")
        return take_rows(filled, np.arange(len(x))) if by_rows(filled) else _predict(self.inner, jnp.asarray(x))[0]

    @checked
    def sample_functions(self, x, *, key, count: Count = 1):
        if isinstance(x, Tracer):
            return self.inner.sample_functions(x, key=key, count=count)
        x = self._rows(x)
        drawn = _functions(self.inner, jnp.asarray(x), key, count)
        finite = np.isfinite(np.moveaxis(np.asarray(drawn), 1, 0)).reshape(len(x), -1).all(1)
        self._check(x, np.asarray(finite), "function")
        return drawn

    def noise_entropy(self, x):
        if isinstance(x, Tracer):
            return noise_entropy(self.inner, x)
        x = self._rows(x)
        entropy = _noise_entropy(self.inner, jnp.asarray(x))
        self._check(x, np.isfinite(np.asarray(entropy)), "noise")
        return entropy

    def _rows(self, x: object) -> np.ndarray:
        """Return the inputs `x` as rows of the width that was given, in the model's precision."""
        rows, wanted = rows_of(x, "x"), self.given.x.shape[1:]
        if rows.ndim == 1 and wanted == (1,):
            rows = rows[:, None]
        if rows.ndim == 1 and not len(rows):
            rows = rows.reshape(0, *wanted)
        if rows.shape[1:] != wanted:
            raise InputError(
                f"x has the shape {rows.shape} and the model's inputs are {wanted[0]} wide: give (rows, {wanted[0]})."
            )
        with np.errstate(over="ignore"):
            rows = rows.astype(jnp.zeros(()).dtype)
        check_finite(rows, "x")
        return rows

    def _check(self, x: np.ndarray, finite: np.ndarray, what: str) -> None:
        """Check that an answer is finite at every row of `x`.

        Raises: InputError that names the row, or the given row with the largest numbers if no answer is finite.
        """
        if finite.all():
            return
        row = int(np.argmin(finite))
        if finite.any():
            raise InputError(
                f"the {what} at row {row} of x (counted from 0), {_shown(x[row])}, is not finite: give inputs nearer to those "
                "that the model was trained on."
            )
        seen = np.asarray(self.given.mask) > 0
        if not seen.any():
            raise InputError(f"the {what} before any point is not finite: train the model again with a lower learning rate.")
        given_x, given_y = (np.asarray(leaf).reshape(len(seen), -1) for leaf in (self.given.x, self.given.y))
        wild = int(np.argmax(np.where(seen, np.abs(given_x).max(1) + np.abs(given_y).max(1), -1.0)))
        raise InputError(
            f"the {what} is not finite once the model has adapted to the given rows, of which row {wild} (counted from 0) has "
            f"the largest numbers, x {_shown(given_x[wild])} and y {_shown(given_y[wild])}: leave a wild row out, or lower the "
            "inner rate."
        )


def _shown(row: np.ndarray) -> str:
    """Return a row in a few words."""
    numbers = [f"{value:.4g}" for value in np.ravel(row)[:4]]
    return f"[{', '.join(numbers)}{', ...' if np.size(row) > 4 else ''}]"


@eqx.filter_jit
def _predict(posterior: AbstractPosterior, x: Array) -> tuple[AbstractDistribution, Bool[Array, " n"]]:
    """Return the predictive at `x`, and at which rows its mean and variance are finite."""
    predictive = posterior.predict(x)
    # A Student-t of two degrees of freedom has an infinite variance.
    sound = jnp.isfinite(predictive.mean) & ~jnp.isnan(predictive.variance)
    return predictive, sound.all(-1)


@eqx.filter_jit
def _functions(posterior: AbstractPosterior, x: Array, key: PRNGKeyArray, count: int) -> jax.Array:
    return posterior.sample_functions(x, key=key, count=count)


_noise_entropy = eqx.filter_jit(noise_entropy)
