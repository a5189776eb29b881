"""Divergences with a closed form."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bmaml.distributions.base import AbstractDistribution
from bmaml.distributions.categorical import Categorical
from bmaml.distributions.normal import Normal
from bmaml.errors import PairError


def kl_divergence(p: AbstractDistribution, q: AbstractDistribution) -> Float[Array, "*batch n"]:
    """Return KL(`p` || `q`) of each point's target, in nats, for two normals or two Categoricals.

    Raises: PairError for other distributions, whose divergence has no closed form.
    """
    if isinstance(p, Normal) and isinstance(q, Normal):
        ratio = (p.scale / q.scale) ** 2
        return 0.5 * (((p.loc - q.loc) / q.scale) ** 2 + ratio - 1 - jnp.log(ratio)).sum(-1)
    if isinstance(p, Categorical) and isinstance(q, Categorical):
        log_p, log_q = jax.nn.log_softmax(p.logits), jax.nn.log_softmax(q.logits)
        return (jnp.exp(log_p) * (log_p - log_q)).sum(-1)
    raise PairError(f"no closed divergence of {type(p).__name__} and {type(q).__name__}: give two Normal or two Categorical.")
