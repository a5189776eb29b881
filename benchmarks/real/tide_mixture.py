"""The tide-gauge experiment: exact experts that start as a mixture of Gaussians and are then trained to predict."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from linear_experts import Harmonics, LinearExperts
from sklearn.cluster import KMeans
from tide_tasks import TideTasks

from bmaml.learners.conjugate import ConjugateLearner, ConjugateMeta
from bmaml.learners.exact_heads.inverse_gamma import InverseGammaPrior
from bmaml.methods import Method
from bmaml.objectives import QueryLoss
from bmaml.training.loop import Loop
from bmaml.training.meta_step import init_state
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan
from bmaml.training.progress import Progress

_FLOOR = 1e-3  # m: the smallest deviation of a coefficient, so that a constituent absent from a cluster keeps a density
_STIFF = 1000.0  # inverse-gamma shape at the start: the noise is as good as known
SCALES = (0.1, 0.3, 1.0, 3.0, 10.0)


class GaussianMixture(NamedTuple):
    """Weights `(m,)`, means `(m, d)` in metres and covariances `(m, d, d)` of a mixture over coefficients."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


def fit_mixture(
    points: np.ndarray,
    clusters: int = 5,
    scales: tuple[float, ...] = SCALES,
    *,
    importance: np.ndarray | None = None,
    prior_gauges: float = 80.0,
    iterations: int = 80,
    seed: int = 0,
) -> GaussianMixture:
    """Return `clusters x scales` Gaussians of points `(gauges, d)` by EM; a cluster's covariances differ by a factor alone.

    Libraries' mixtures have no such tie between covariances, and no weights of points, so the EM is written out here.

    The factors `scales` give a cluster heavy tails, which one Gaussian lacks. A cluster's correlations are drawn towards
    those of all clusters with the weight of `prior_gauges` gauges. `importance` `(gauges,)` weighs the gauges.
    """
    factors = np.asarray(scales, float)
    weigh = np.ones(len(points)) if importance is None else importance * len(points) / importance.sum()
    # Clusters of raw coefficients would be clusters of M2 alone; of unit-variance ones, of noise in tiny constituents.
    scaled = points / np.sqrt(points.std(0) + _FLOOR)
    labels = KMeans(clusters, n_init=10, random_state=seed).fit_predict(scaled)
    share = np.repeat(np.eye(clusters)[labels][:, :, None], len(factors), 2) / len(factors)
    weights, means, covariances = _maximise(points, share * weigh[:, None, None], factors, prior_gauges)
    for _ in range(iterations - 1):
        log_joint = _log_joint(points, weights, means, covariances, factors)
        share = np.exp(log_joint - log_joint.max((1, 2), keepdims=True))
        share /= share.sum((1, 2), keepdims=True)
        weights, means, covariances = _maximise(points, share * weigh[:, None, None], factors, prior_gauges)
    spread = (covariances[:, None] * factors[:, None, None]).reshape(-1, *covariances.shape[1:])
    return GaussianMixture(weights.reshape(-1), np.repeat(means, len(factors), 0), spread)


def _maximise(points: np.ndarray, share: np.ndarray, factors: np.ndarray, prior_gauges: float):
    """Return weights (m, s), means (m, d) and covariances (m, d, d) given each gauge's share (g, m, s)."""
    count = share.sum((0, 2))
    precise = (share / factors).sum(2)
    means = (precise.T @ points) / (precise.sum(0)[:, None] + 1e-9)
    offset = [points - mean for mean in means]
    scatter = np.stack([(p[:, None] * o).T @ o for p, o in zip(precise.T, offset, strict=True)])
    floor = _FLOOR**2 * np.eye(points.shape[1])
    pooled = scatter.sum(0) / count.sum() + floor
    covariances = []
    for own, n in zip(scatter, count, strict=True):
        ratio = np.sqrt((np.diag(own) / (n + 1e-9) + _FLOOR**2) / np.diag(pooled))
        covariances.append((own + prior_gauges * pooled * np.outer(ratio, ratio)) / (n + prior_gauges) + floor)
    smoothed = share.sum(0) + 1 / len(factors)
    return smoothed / smoothed.sum(), means, np.stack(covariances)


def _log_joint(points, weights, means, covariances, factors) -> np.ndarray:
    """Return log weight + log density (g, m, s), up to a constant of all."""
    each = []
    for weight, mean, covariance in zip(weights, means, covariances, strict=True):
        root = np.linalg.cholesky(covariance)
        distance = (np.linalg.solve(root, (points - mean).T) ** 2).sum(0)
        log_det = 2 * np.log(np.diag(root)).sum() + points.shape[1] * np.log(factors)
        each.append(np.log(weight) - 0.5 * (distance[:, None] / factors + log_det))
    return np.stack(each, 1)


def mixture_experts(features: LinearExperts, mixture: GaussianMixture, noise: float) -> tuple[ConjugateLearner, ConjugateMeta]:
    """Return a learner and meta-parameters that are the mixture, conditioned exactly, with noise deviation `noise` (m).

    An expert's features are the principal axes of its covariance, so that the head's scales can later be learned apart.
    Raises: ValueError if the features do not have the full rank of the basis.
    """
    if features.rank != features.basis.size:
        raise ValueError(f"features of rank {features.rank} cannot hold a covariance of {features.basis.size}: use full rank.")
    values, axes = np.linalg.eigh(mixture.covariances)
    roots = np.sqrt(np.maximum(values, 1e-12))
    means = np.einsum("mdr,md->mr", axes, mixture.means) / roots
    variance = mixture.weights @ np.diagonal(mixture.covariances, axis1=1, axis2=2)
    network = jnp.asarray(0.5 * np.log(variance), float)
    experts, size = means.shape
    prior = InverseGammaPrior(
        mean=jnp.asarray(means[:, :, None], float),
        log_scale=jnp.zeros((experts, size)),
        log_noise=jnp.full(experts, 2 * np.log(noise), float),
        raw_a=jnp.full((experts, 1), _STIFF - 1, float),  # softplus is the identity out here
        log_b=jnp.full((experts, 1, 1), np.log(_STIFF), float),
        log_share=jnp.zeros((experts, 1)),
    )
    codes = features.codes(network, jnp.asarray(axes * roots[:, None, :], float))
    learner = ConjugateLearner(features, particles=experts, noise=noise**2, own_prior=True)
    return learner, ConjugateMeta(network, codes, prior, jnp.log(jnp.asarray(mixture.weights, float)))


def fit_tides(
    tasks: TideTasks,
    *,
    clusters: int = 5,
    scales: tuple[float, ...] = SCALES,
    steps: int = 0,
    batch: int = 8,
    rate: float = 1e-3,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[ConjugateLearner, ConjugateMeta]:
    """Return a learner and its meta-parameters for gauges: the mixture by EM, then `steps` of query NLL by gradient.

    With no steps (the default, seconds of work) they are the mixture of Gaussians itself.
    """
    features = LinearExperts(Harmonics(tuple(np.asarray(tasks.speed, float)), constant=False))
    points, importance = np.asarray(tasks.coefficients, float), np.exp(np.asarray(tasks.log_weights, float))
    mixture = fit_mixture(points, clusters, scales, importance=importance, seed=seed)
    learner, meta = mixture_experts(features, mixture, tasks.noise)
    if steps < 1:
        return learner, meta
    return learner, train_experts(learner, meta, tasks, Plan(steps, batch, Adam(rate, clip=1.0), seed), progress)


def train_experts(
    learner: ConjugateLearner, meta: ConjugateMeta, tasks: TideTasks, plan: Plan, progress: Progress | None = None
) -> ConjugateMeta:
    """Return the meta-parameters after training on query NLL from given ones."""
    method = Method(learner, QueryLoss("points"))
    state = eqx.tree_at(lambda s: s.meta, init_state(method, plan), meta)
    loop = Loop(method, tasks, plan, state)
    loop.run(progress=progress)
    return loop.state.meta
