"""Priors over a particle: the parameters of a model and the prior's own hyper-parameters.

A log density here is that of one task's parameters, in nats, up to a constant that does not depend on parameters. `anchor`
is the particle from which adaptation starts.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from bmaml.errors import InputError
from bmaml.io.registry import register
from bmaml.models.base import AbstractModel

Params = PyTree[Any]


class Particle(eqx.Module):
    """One particle: a model's parameters `params` and its prior's hyper-parameters `hyper` (None without any)."""

    params: Params
    hyper: PyTree[Any]


class AbstractPrior(eqx.Module):
    """A log density over particles."""

    @abstractmethod
    def init(self) -> PyTree[Any]:
        """Return the hyper-parameters that a particle starts with."""

    @abstractmethod
    def log_density(self, model: AbstractModel, particle: Particle, anchor: Particle) -> Float[Array, ""]:
        """Return the log prior density of `particle`, in nats.

        - `model`: says which part of the parameters are weights.
        - `anchor`: the particle from which adaptation started.
        """


def _check_positive(what: str, value: float) -> None:
    if not value > 0:
        raise InputError(f"{what} is {value}: give a number above 0.")


def _square_norm(tree: PyTree[Any]) -> Float[Array, ""]:
    return sum((jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(tree)), start=jnp.zeros(()))


def _size(tree: PyTree[Any]) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@register("prior/flat")
class FlatPrior(AbstractPrior):
    """A constant density: adaptation follows the likelihood alone."""

    def init(self):
        return None

    def log_density(self, model, particle, anchor):
        return jnp.zeros(())


@register("prior/gaussian")
class GaussianPrior(AbstractPrior):
    """Weights ~ N(0, 1 / precision).

    Raises: InputError for a `precision` that is not above 0.
    """

    precision: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        _check_positive("GaussianPrior's precision", self.precision)

    def init(self):
        return None

    def log_density(self, model, particle, anchor):
        return -0.5 * self.precision * _square_norm(model.weights(particle.params))


@register("prior/around-init")
class AroundInit(AbstractPrior):
    """Weights ~ N(start of adaptation, 1 / precision): p(phi | theta) of Grant et al. (2018), and the pull of iMAML.

    From https://arxiv.org/abs/1801.08930 and https://arxiv.org/abs/1909.04630.
    Raises: InputError for a `precision` that is not above 0.
    """

    precision: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        _check_positive("AroundInit's precision", self.precision)

    def init(self):
        return None

    def log_density(self, model, particle, anchor):
        moved = jax.tree.map(jnp.subtract, model.weights(particle.params), model.weights(anchor.params))
        return -0.5 * self.precision * _square_norm(moved)


def _log_gamma(log_value: Array, a: float, b: float) -> Array:
    """Log density of log v for v ~ Gamma(a, b), with the Jacobian, up to a constant."""
    return a * log_value - b * jnp.exp(log_value)


@register("prior/gamma")
class GammaPrior(AbstractPrior):
    """BMAML's hierarchy: weights ~ N(0, 1 / lambda), lambda ~ Gamma(a_weight, b_weight), gamma ~ Gamma(a_noise, b_noise).

    lambda is the hyper-parameter of a particle, stored as its log. gamma is the model's noise precision. From Kim et al.
    (2018), section 5.1, https://arxiv.org/abs/1806.03836. The defaults are those of the authors' code, where gamma starts at
    100 (set on the model) and lambda at 1.

    - `a_noise`, `b_noise`: shape and rate of the noise precision.
    - `a_weight`, `b_weight`: shape and rate of the weights' precision.
    - `start`: start of lambda.

    Raises: InputError for a number that is not above 0.
    """

    a_noise: float = eqx.field(static=True, default=2.0)
    b_noise: float = eqx.field(static=True, default=0.2)
    a_weight: float = eqx.field(static=True, default=2.0)
    b_weight: float = eqx.field(static=True, default=2.0)
    start: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        for name in ("a_noise", "b_noise", "a_weight", "b_weight", "start"):
            _check_positive(f"GammaPrior's {name}", getattr(self, name))

    def init(self):
        return {"log_weight_precision": jnp.log(jnp.asarray(self.start))}

    def log_density(self, model, particle, anchor):
        weights = model.weights(particle.params)
        log_weight = particle.hyper["log_weight_precision"]
        prior = 0.5 * _size(weights) * log_weight - 0.5 * jnp.exp(log_weight) * _square_norm(weights)
        prior = prior + _log_gamma(log_weight, self.a_weight, self.b_weight)
        log_noise = model.log_precision(particle.params)
        return prior if log_noise is None else prior + _log_gamma(log_noise, self.a_noise, self.b_noise)


def early_stopping_precision(hessian: Float[Array, "d d"], learning_rate: float, steps: int) -> Float[Array, "d d"]:
    """Return the precision of the Gaussian prior about the start whose MAP `steps` of gradient descent reach.

    For a quadratic loss, from any start:

        Q^-1 = H ((I - rate H)^-steps - I)^-1,

    with eigenvalues l / ((1 - rate l)^-steps - 1). These are about 1 / (rate steps) in directions that the data hardly
    determine, and 0 in directions that have converged. The identity is exact for least squares: Santos (1996),
    https://doi.org/10.1016/0024-3795(94)00114-6, and section 3.1 of Grant et al. (2018), https://arxiv.org/abs/1801.08930.

    - `hessian`: H, the Hessian of minus the log-likelihood in nats.
    - `learning_rate`: rate, the size of a step.
    - `steps`: number of steps.

    Raises: InputError for fewer than one step, or if a step would overshoot (an eigenvalue of rate H outside 0 to 1), because
    no prior does that.
    """
    if steps < 1:
        raise InputError(f"{steps} steps have no prior: give at least 1.")
    values, vectors = jnp.linalg.eigh(hessian)
    if not bool(((values > 0) & (learning_rate * values > 0) & (learning_rate * values < 1)).all()):
        raise InputError("rate times an eigenvalue of the Hessian is not between 0 and 1: give a lower rate, or full rank.")
    # expm1 and log1p compute (1 - rate l)^-steps - 1 without cancellation for small steps.
    prior = values / jnp.expm1(-steps * jnp.log1p(-learning_rate * values))
    return (vectors * prior[None]) @ vectors.T
