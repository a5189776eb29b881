"""The kernelised Stein discrepancy: the distance of particles from a density that is known up to a constant."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from bmaml.inference.particles import flatten


@partial(jax.jit, static_argnames=("scale", "exponent"))
def stein_kernel(
    x: Float[Array, "n d"], scores: Float[Array, "n d"], *, scale: float = 1.0, exponent: float = -0.5
) -> Float[Array, "n n"]:
    """Return the Stein kernel k0(a, b) of all pairs for the inverse multiquadric (scale^2 + |a - b|^2)^exponent.

    k0(a, b) = s(a).s(b) k + s(a).grad_b k + s(b).grad_a k + trace(grad_a grad_b k) has mean 0 under the target.

    - `x`: particles.
    - `scores`: s, the gradients of the log density at the particles.
    - `scale`: length of the kernel, in units of the particles.
    - `exponent`: exponent of the kernel, between -1 and 0.
    """
    gaps = x[:, None] - x[None]
    squares = (gaps**2).sum(-1)
    base = scale**2 + squares
    k, slope = base**exponent, 2 * exponent * base ** (exponent - 1)
    # grad_a k = slope (a - b) and grad_b k = -slope (a - b), so both terms share (s(b) - s(a)).(a - b).
    cross = slope * jnp.einsum("ijd,ijd->ij", scores[None] - scores[:, None], gaps)
    trace = -slope * x.shape[1] - 4 * exponent * (exponent - 1) * squares * base ** (exponent - 2)
    return (scores @ scores.T) * k + cross + trace


def stein_discrepancy(
    log_density: Callable[[Any], Float[Array, ""]],
    particles: PyTree,
    *,
    log_weights: Float[Array, " particles"] | None = None,
    scale: float = 1.0,
) -> Float[Array, ""]:
    """Return the kernelised Stein discrepancy of weighted particles to a density. It is 0 only for the density itself.

    The value is the square root of sum_ij w_i w_j k0(x_i, x_j) with the inverse multiquadric kernel of exponent -1/2. Unlike
    the Gaussian kernel, this one detects particles that drift away. The unit is that of a gradient of the log density. n exact
    draws have about sqrt(mean k0(x, x) / n), so compare only equal numbers of particles. Memory is n^2 d. From Gorham and
    Mackey (2017), https://arxiv.org/abs/1703.01717.

    - `log_density`: takes one particle and returns a scalar in nats, up to a constant.
    - `particles`: a pytree with the particle axis first.
    - `log_weights`: unnormalised log weights; equal by default.
    - `scale`: length of the kernel, in units of the particles.
    """
    x, scores = flatten(particles), flatten(jax.jit(jax.vmap(jax.grad(log_density)))(particles))
    weights = jax.nn.softmax(jnp.zeros(len(x)) if log_weights is None else log_weights)
    total = weights @ stein_kernel(x, scores, scale=scale) @ weights
    return jnp.sqrt(jnp.maximum(total, 0.0))
