"""A posterior whose answers are compiled programs, so that an answer takes milliseconds outside compiled programs too."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PRNGKeyArray

from bmaml.data import length_class
from bmaml.distributions import AbstractDistribution, by_rows, take_rows
from bmaml.inference.posteriors import AbstractNoisePosterior, AbstractPosterior, AbstractWrappedPosterior, noise_entropy


class CompiledPosterior(AbstractWrappedPosterior, AbstractNoisePosterior):
    """A posterior that answers as `inner` does, by programs that are compiled once.

    The rows of a question are padded to one of a few lengths, so a question of another length needs no new program. Inside a
    program of the caller's own, `inner` answers directly.
    """

    inner: AbstractPosterior

    def predict(self, x):
        if isinstance(x, Tracer):
            return self.inner.predict(x)
        rows, x = len(x), np.asarray(x, jnp.zeros(()).dtype)
        if not rows:
            return self.inner.predict(jnp.asarray(x))
        filled = _predict(self.inner, jnp.asarray(x[np.arange(length_class(rows)) % rows]))
        return take_rows(filled, np.arange(rows)) if by_rows(filled) else _predict(self.inner, jnp.asarray(x))

    def sample_functions(self, x, *, key, count=1):
        if isinstance(x, Tracer):
            return self.inner.sample_functions(x, key=key, count=count)
        return _functions(self.inner, jnp.asarray(x, jnp.zeros(()).dtype), key, count)

    def noise_entropy(self, x):
        return _noise_entropy(self.inner, jnp.asarray(x, jnp.zeros(()).dtype))


@eqx.filter_jit
def _predict(posterior: AbstractPosterior, x: Array) -> AbstractDistribution:
    return posterior.predict(x)


@eqx.filter_jit
def _functions(posterior: AbstractPosterior, x: Array, key: PRNGKeyArray, count: int) -> jax.Array:
    return posterior.sample_functions(x, key=key, count=count)


_noise_entropy = eqx.filter_jit(noise_entropy)
