"""The scales of a generalised mixed model, their priors, and the functions that they make of the inputs."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from bmaml.learners.hierarchical.basis import KNOTS, Basis, Knots
from bmaml.learners.hierarchical.scales import MOST_JOINT, root
from bmaml.likelihoods import AbstractLikelihood
from bmaml.likelihoods.base import Scales

# How a task deviates from what all share: not at all, by a constant, by lines, or by lines and bends.
Deviation = Literal["none", "constant", "lines", "bends"]

# Centres and deviations of the normal priors of the log scales, on the scale of the latent number.
_PRIORS = {"mean": (-0.7, 1.0), "lines": (-1.0, 1.0), "below": (0.0, 1.0), "bends": (-1.5, 1.0)}
# Prior deviation of the constant of all tasks, around the number that fits all outcomes.
_CONSTANT = 2.0


def start(basis: Basis, deviation: Deviation, likelihood: AbstractLikelihood) -> Scales:
    """Return the logs of the scales at the centre of their prior.

    - `basis`: the functions of the inputs.
    - `deviation`: how a task deviates.
    - `likelihood`: the family, with scales of its own.
    """
    lines = 1 + len(basis.varying) if deviation in ("lines", "bends") else 1
    shapes: dict[str, tuple[int, ...]] = {"mean": (4,)}
    if deviation != "none":
        shapes["lines"] = (lines,)
    if 1 < lines <= MOST_JOINT:
        shapes["below"] = (lines * (lines - 1) // 2,)
    if deviation == "bends":
        shapes["bends"] = (len(basis.curves),)
    own = {name: jnp.full(shape, _PRIORS[name][0]) for name, shape in shapes.items()}
    return own | {name: jnp.asarray(centre, jnp.zeros(()).dtype) for name, (centre, _) in likelihood.priors.items()}


def log_prior(scales: Scales, likelihood: AbstractLikelihood) -> Float[Array, ""]:
    """Return the log density of the prior of `scales`, up to a constant. `likelihood` is the family."""
    priors = _PRIORS | dict(likelihood.priors)
    each = [(((value - jnp.asarray(priors[name][0])) / priors[name][1]) ** 2).sum() for name, value in scales.items()]
    return -0.5 * jnp.stack(each).sum()


def shared(basis: Basis, knots: Knots, scales: Scales, x: Float[Array, "n inputs"]) -> Float[Array, "n functions"]:
    """Return the functions that all tasks share at `x`, each times the prior deviation of its coefficient.

    `basis` and `knots` say what the functions are, and `scales` how wide the priors are.
    """
    return basis.mean(knots, x) * widths(basis, scales)[None]


def widths(basis: Basis, scales: Scales) -> Float[Array, " functions"]:
    """Return the prior deviation of the coefficient of each shared function of `basis`, given the `scales`."""
    return jnp.exp(scales["mean"])[basis.groups].at[0].set(_CONSTANT)


def own(basis: Basis, knots: Knots, scales: Scales, x: Float[Array, "n inputs"]) -> Float[Array, "n effects"]:
    """Return the functions by which a task deviates at `x`, for coefficients that are independent standard normals.

    `basis`, `knots` and `scales` are as in `shared`. A task that does not deviate has one function, which is 0.
    """
    if "lines" not in scales:
        return jnp.zeros_like(x, shape=(len(x), 1))
    lines = basis.lines(x)[:, : len(scales["lines"])] @ root(scales)
    if "bends" not in scales:
        return lines
    bends = basis.bends(knots, x) * jnp.exp(scales["bends"])[None, :, None]
    return jnp.concatenate([lines, bends.reshape(len(x), -1)], 1)


def effects(basis: Basis, deviation: Deviation) -> int:
    """Return the number of functions by which a task deviates, for a `basis` and a `deviation`."""
    lines = 1 + len(basis.varying) if deviation in ("lines", "bends") else 1
    return lines + (len(basis.curves) * (KNOTS - 2) if deviation == "bends" else 0)
