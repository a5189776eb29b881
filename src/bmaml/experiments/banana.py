"""The banana: draws by HMC and NUTS, and SVGD's particles, on a bent density."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
import optax
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from bmaml.experiments.numbers import Numbers
from bmaml.inference.directions import RBF
from bmaml.inference.svgd import svgd
from bmaml.learners.mcmc import Chains, convergence, hmc, nuts

BEND, WIDTH = 0.8, 0.5
# x2 = BEND (x1^2 - 1) + WIDTH z with x1, z standard normal. x1^2 - 1 has mean 0, variance 2, and no covariance with x1.
MEAN = np.zeros(2)
COVARIANCE = np.diag([1.0, WIDTH**2 + 2 * BEND**2])
METHODS = ("HMC", "NUTS", "SVGD")
# Wider than the median heuristic's width, which misses a fifth of the variance along the bend.
BANDWIDTH = 4.0


def log_banana(x: Float[Array, " 2"]) -> Float[Array, ""]:
    """Log density at `x` of x1 ~ N(0, 1), x2 | x1 ~ N(BEND (x1^2 - 1), WIDTH^2), in nats."""
    return norm.logpdf(x[0]) + norm.logpdf(x[1], BEND * (x[0] ** 2 - 1), WIDTH)


def particles(count: int = 200, steps: int = 3000, seed: int = 0) -> Float[Array, "count 2"]:
    """Return `count` particles of SVGD after `steps` steps of Adam with a rate that falls to 0 and a fixed bandwidth.

    `seed` is the seed of the start.
    """
    start = 1.5 * jax.random.normal(jax.random.key(seed), (count, 2))
    rule = optax.adam(optax.cosine_decay_schedule(0.1, steps))
    return svgd(log_banana, start, steps=steps, optimiser=rule, kernel=RBF(BANDWIDTH)).particles


def chains(method: str, draws: int = 2000, seed: int = 0) -> Chains:
    """Return four chains of `draws` draws by the `method` "HMC" (32 leapfrog steps) or "NUTS", with small steps that reach the
    tips.

    `seed` is the seed of the chains.
    """
    sampler = {"HMC": partial(hmc, leapfrogs=32), "NUTS": nuts}[method]
    key = jax.random.key(seed)
    starts = 2.0 * jax.random.normal(jax.random.fold_in(key, 1), (4, 2))
    return sampler(log_banana, starts, warmup=500, draws=draws, acceptance=0.95, key=jax.random.fold_in(key, 2))


def run(*, seed: int = 0) -> tuple[Numbers, Numbers]:
    """Return the draws (method, x1, x2), and how each method did: method, points, mean_error, covariance_error, r_hat,
    divergences.

    Errors are those of `moment_errors`. R-hat (the larger of the two coordinates) and divergences are None for SVGD. `seed` is
    the seed of all draws.
    Raises: InputError if blackjax is not installed.
    """
    draws, scores = [], []
    for method in METHODS:
        chain = None if method == "SVGD" else chains(method, seed=seed)
        points = np.asarray(particles(seed=seed) if chain is None else chain.pooled(), np.float64)
        well = (None, None) if chain is None else (float(convergence(chain.draws).r_hat.max()), chain.divergences)
        scores.append((method, len(points), *moment_errors(points, MEAN, COVARIANCE), *well))
        draws += [(method, *point) for point in points.tolist()]
    columns = ("method", "points", "mean_error", "covariance_error", "r_hat", "divergences")
    return Numbers(("method", "x1", "x2"), draws), Numbers(columns, scores)


def moment_errors(points: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> tuple[float, float]:
    """Return the largest error of the mean of `points`, in the target's standard deviations, and that of their covariance.

    `mean` and `covariance` are the target's. The error of covariance entry (i, j) is relative to the product of the target's
    deviations of i and j.
    """
    deviation = np.sqrt(np.diag(covariance))
    found = np.cov(points.T, bias=True)
    centre = np.abs((points.mean(0) - mean) / deviation).max()
    return float(centre), float(np.abs((found - covariance) / np.outer(deviation, deviation)).max())
