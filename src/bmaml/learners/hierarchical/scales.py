"""The scales of a hierarchical model, their priors, and the covariance that they give to a task."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from bmaml.learners.hierarchical.basis import Basis

# How a task deviates from the shared mean: by a constant, by lines, or by a smooth function on top of lines.
Deviation = Literal["constant", "lines", "smooth"]
Scales = dict[str, Array]

# Centres and deviations of the normal priors of the log scales, in units of the standardised outcome.
_CENTRES = {"mean": 0.0, "lines": -1.0, "below": 0.0, "smooth": -1.5, "length": 0.0, "noise": -1.0, "noise_slope": 0.0}
_WIDTHS = {"mean": 1.0, "lines": 1.2, "below": 1.0, "smooth": 1.2, "length": 0.7, "noise": 1.5, "noise_slope": 0.4}
# More lines than this deviate independently of each other: there are too few tasks to learn their covariances.
MOST_JOINT = 5
# The least noise and the jitter of a covariance, as shares of the outcome's variance.
_LEAST = 1e-6


def start(basis: Basis, deviation: Deviation) -> Scales:
    """Return the scales of a `deviation` at the centre of their prior, for the functions of `basis`."""
    lines = 1 if deviation == "constant" else 1 + len(basis.varying)
    shapes = {"mean": (4,), "lines": (lines,), "noise": (), "noise_slope": (len(basis.noisy),)}
    if 1 < lines <= MOST_JOINT:
        shapes["below"] = (lines * (lines - 1) // 2,)
    if deviation == "smooth":
        shapes |= {"smooth": (), "length": (len(basis.varying),)}
    return {name: jnp.full(shape, _CENTRES[name]) for name, shape in shapes.items()}


def log_prior(scales: Scales) -> Float[Array, ""]:
    """Return the log density of the scales' prior, up to a constant."""
    each = [(((value - _CENTRES[name]) / _WIDTHS[name]) ** 2).sum() for name, value in scales.items()]
    return -0.5 * jnp.stack(each).sum()


def mean_variance(basis: Basis, scales: Scales) -> Float[Array, " functions"]:
    """Return the prior variance of the coefficient of each function of the shared mean in `basis`, given the `scales`."""
    return jnp.exp(2 * scales["mean"])[basis.groups]


def noise_variance(basis: Basis, scales: Scales, x: Float[Array, "n inputs"]) -> Float[Array, " n"]:
    """Return the variance of the noise at `x`, given the `scales`. `basis` says which inputs the noise depends on."""
    # Beyond the rows that were seen the noise stays as it is at their edge.
    slope = jnp.clip(x[:, basis.noisy], -2.5, 2.5) @ scales["noise_slope"]
    return jnp.exp(2 * (scales["noise"][None] + slope)) + _LEAST


def root(scales: Scales) -> Float[Array, "lines lines"]:
    """Return a root of the covariance of a task's lines, given the `scales`."""
    count = len(scales["lines"])
    unit = jnp.eye(count, dtype=scales["lines"].dtype)
    if "below" in scales:
        unit = unit.at[jnp.tril_indices(count, -1)].set(scales["below"])
        unit = unit / jnp.sqrt((unit**2).sum(1, keepdims=True))
    return jnp.exp(scales["lines"])[:, None] * unit


def covariance(basis: Basis, scales: Scales, a: Float[Array, "n inputs"], b: Float[Array, "m inputs"]) -> Float[Array, "n m"]:
    """Return the covariance of a task's deviation between inputs `a` and `b`, given the `scales` and the lines of `basis`."""
    count = len(scales["lines"])
    left, right = (basis.lines(x)[:, :count] @ root(scales) for x in (a, b))
    total = left @ right.T
    if "smooth" in scales:
        ends = [x[:, basis.varying] * jnp.exp(-scales["length"])[None] for x in (a, b)]
        distance = ((ends[0][:, None] - ends[1][None]) ** 2).sum(-1)
        total = total + jnp.exp(2 * scales["smooth"][None, None] - 0.5 * distance)
    return total


def variance(basis: Basis, scales: Scales, x: Float[Array, "n inputs"]) -> Float[Array, " n"]:
    """Return the variance of a task's deviation at `x`, given the `scales` and the lines of `basis`."""
    half = basis.lines(x)[:, : len(scales["lines"])] @ root(scales)
    total = (half**2).sum(1)
    return total + jnp.exp(2 * scales["smooth"])[None] if "smooth" in scales else total
