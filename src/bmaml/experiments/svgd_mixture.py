"""SVGD on a mixture of two normals: the toy example of Liu and Wang (2016), section 5, https://arxiv.org/abs/1608.04471."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from bmaml.experiments.numbers import Numbers
from bmaml.inference.svgd import svgd

PANELS = (0, 50, 75, 100, 150, 500)
MEAN, SECOND, BELOW = 2 / 3, 5.0, 0.3409


def log_mixture(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Log density of 1/3 N(-2, 1) + 2/3 N(2, 1) at `x`, in nats."""
    parts = jnp.stack([norm.logpdf(x, -2.0) + jnp.log(1 / 3), norm.logpdf(x, 2.0) + jnp.log(2 / 3)])
    return logsumexp(parts, axis=0)


def run(*, particles: int = 100, learning_rate: float = 0.25, seed: int = 0) -> Numbers:
    """Return the particles at the steps of the paper's panels, started from N(-10, 1): columns step, particle, x.

    - `particles`: number of particles.
    - `learning_rate`: step size of SVGD.
    - `seed`: seed of the start.
    """
    start = -10 + jax.random.normal(jax.random.key(seed), (particles,))
    recorded = np.asarray(svgd(log_mixture, start, steps=PANELS[-1], learning_rate=learning_rate, record=PANELS).recorded)
    rows = [(step, i, float(x)) for step, panel in zip(PANELS, recorded, strict=True) for i, x in enumerate(panel)]
    return Numbers(("step", "particle", "x"), rows)


def summary(numbers: Numbers) -> dict[str, float]:
    """Return mean, second moment and share below zero of the final particles in `numbers` (the truth: 2/3, 5, 0.341)."""
    x = np.asarray(numbers.values("x", step=PANELS[-1]))
    return {"mean": float(x.mean()), "second_moment": float((x**2).mean()), "below_zero": float((x < 0).mean())}
