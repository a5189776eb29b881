"""The shape of errors: a predictive whose errors are not normal."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy import special
from jaxtyping import Array, Float

from bmaml.distributions.base import AbstractContinuous, AbstractDistribution
from bmaml.distributions.log_normal import ShiftedLogNormal
from bmaml.distributions.mixtures import Mixture
from bmaml.distributions.normal import Normal
from bmaml.distributions.pool import Pool
from bmaml.distributions.student import StudentT
from bmaml.errors import PairError

# Nodes of a sum over errors, in deviations.
_REACH, _NODES = 9.0, 361


class Shape(eqx.Module):
    """A distribution of errors in units of the predicted deviation: a mixture of normals.

    The standard normal is one part with shift 0 and factor 1.

    - `log_weights`: logs of the weights of the parts. They need not be normalised.
    - `shifts`, `factors`: mean and deviation of each part.
    """

    log_weights: Float[Array, " kinds"]
    shifts: Float[Array, " kinds"]
    factors: Float[Array, " kinds"]

    def log_prob(self, error: Float[Array, " n"]) -> Float[Array, " n"]:
        """Return the log density (nats) of each `error`, in deviations."""
        unit = (error[None] - self.shifts[:, None]) / self.factors[:, None]
        logs = jax.nn.log_softmax(self.log_weights) - jnp.log(self.factors) - 0.5 * math.log(2 * math.pi)
        return special.logsumexp(logs[:, None] - 0.5 * unit**2, axis=0)

    def entropy(self) -> Float[Array, ""]:
        """Return the entropy in nats, by a sum over errors of up to 9 deviations."""
        nodes = jnp.linspace(-_REACH, _REACH, _NODES)
        log_prob = self.log_prob(nodes)
        return -(jnp.exp(log_prob) * log_prob).sum() * (nodes[1] - nodes[0])


def shaped(predictive: AbstractDistribution, shape: Shape) -> AbstractContinuous:
    """Return a predictive whose errors have another `shape` than that of its components.

    A component with centre m and deviation s becomes several: part k of the shape has the centre m + shift_k s and the
    deviation factor_k s. So mean, density, draws and acquisitions need no new code.

    - `predictive`: normals, Student-ts, log-normals (moved in the logarithm), or mixtures of them, of one output. The parts of
      several outputs would be the same, which would tie their errors together.

    Raises: PairError for other predictives.
    """
    if isinstance(predictive, Pool):
        return Pool(predictive.log_weights, tuple(shaped(part, shape) for part in predictive.parts))
    if not isinstance(predictive, Mixture):
        return Mixture(shape.log_weights, jax.vmap(lambda *part: _moved(predictive, *part))(shape.shifts, shape.factors))
    moved = jax.vmap(lambda *part: _moved(predictive.components, *part))(shape.shifts, shape.factors)
    count = len(predictive.log_weights)

    def flat(leaf: Array) -> Array:
        # What all components have in common may have an axis of length 1.
        return jax.lax.collapse(jnp.broadcast_to(leaf, (len(leaf), count, *leaf.shape[2:])), 0, 2)

    log_weights = jax.nn.log_softmax(shape.log_weights)[:, None] + jax.nn.log_softmax(predictive.log_weights)[None]
    return Mixture(log_weights.ravel(), jax.tree.map(flat, moved))


def has_shape(predictive: AbstractDistribution) -> bool:
    """Return whether `shaped` knows the `predictive`."""
    if isinstance(predictive, Pool):
        return all(has_shape(part) for part in predictive.parts)
    inner = predictive.components if isinstance(predictive, Mixture) else predictive
    return isinstance(inner, Normal | StudentT | ShiftedLogNormal)


def _moved(component: AbstractDistribution, shift: Array, factor: Array) -> AbstractContinuous:
    if isinstance(component, Normal):
        known = None if component.known is None else factor * component.known
        return Normal(component.loc + shift * component.scale, factor * component.scale, known)
    if isinstance(component, StudentT):
        return StudentT(component.df, component.loc + shift * component.scale, factor * component.scale)
    if isinstance(component, ShiftedLogNormal):
        return ShiftedLogNormal(component.loc + shift * component.scale, factor * component.scale, component.shift)
    raise PairError(
        f"no other shape for {type(component).__name__}: give normals, Student-ts, log-normals or mixtures of them."
    )
