"""The contract of a likelihood with one latent number for each outcome."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmaml.distributions import AbstractNumeric
from bmaml.distributions.mixtures import AbstractNumericMixture

NODES = 24
"""Points of Gauss-Hermite quadrature over a latent number."""
Scales = dict[str, Array]
Priors = Mapping[str, tuple[float | np.ndarray, float]]


class AbstractLikelihood(eqx.Module):
    """The distribution of an outcome given a latent number, in nats.

    - `CONCAVE`: whether `log_prob` is concave in the latent number, so that `slopes` gives its true second derivative.
    - `LEANS`: whether `third` tells how far a posterior's mean is from its mode.

    `side` is a further known number of each row, such as the logarithm of an exposure. A family without one gets zeros. All
    arrays of a method have the same shape, or broadcast to it.
    """

    CONCAVE: ClassVar[bool] = True
    LEANS: ClassVar[bool] = True

    @property
    @abstractmethod
    def priors(self) -> Priors:
        """The family's own scales: the name of each, with centre and deviation of the normal prior of its logarithm.

        A scale of several numbers has an array as its centre.
        """

    @abstractmethod
    def log_prob(
        self, latent: Float[Array, "*rows"], y: Float[Array, "*rows"], side: Float[Array, "*rows"], scales: Scales
    ) -> Float[Array, "*rows"]:
        """Return the log probability of outcomes `y`, each by itself, given `latent`, `side` and the logs of all `scales`."""

    @abstractmethod
    def slopes(self, latent: Array, y: Array, side: Array, scales: Scales) -> tuple[Array, Array]:
        """Return the first derivative of `log_prob` in `latent`, and the second with its sign turned, which is at least 0.

        If `log_prob` is not concave, the mean of the second derivative over outcomes stands for it (the Fisher information).
        `y`, `side` and `scales` are as in `log_prob`.
        """

    def third(self, latent: Array, y: Array, side: Array, scales: Scales) -> Array:
        """Return the third derivative of `log_prob` in `latent`, by which a posterior's mean leaves its mode, or 0.

        `y`, `side` and `scales` are as in `log_prob`.
        """

        def second(at: Array) -> Array:
            return jax.jvp(lambda at: self.slopes(at, y, side, scales)[0], (at,), (jnp.ones_like(at),))[1]

        latent = jnp.broadcast_to(latent, jnp.broadcast_shapes(jnp.shape(latent), jnp.shape(y)))
        if not self.LEANS:
            return jnp.zeros_like(latent)
        return jax.jvp(second, (latent,), (jnp.ones_like(latent),))[1]

    @abstractmethod
    def centre(self, y: np.ndarray, side: np.ndarray) -> float:
        """Return a latent number that fits all outcomes `y` on average, given `side`. Priors lie around it."""

    @abstractmethod
    def expected(self, latent: Array, side: Array, scales: Scales) -> Array:
        """Return the mean of the outcome given `latent`, `side` and the logs of all `scales`."""

    @abstractmethod
    def predictive(
        self,
        mean: Float[Array, "draws n"],
        variance: Float[Array, "draws n"],
        side: Float[Array, " n"],
        scales: Scales,
        log_weights: Float[Array, " draws"],
    ) -> AbstractNumeric:
        """Return the distribution of outcomes whose latent number is a mixture of normals.

        - `mean`, `variance`: those of each normal at each row.
        - `side`: what else is known of each row.
        - `scales`: logs of the family's scales in each draw.
        - `log_weights`: log weights of the normals, which need no normalising.
        """

    @abstractmethod
    def noise_entropy(
        self,
        mean: Float[Array, "draws n"],
        variance: Float[Array, "draws n"],
        side: Float[Array, " n"],
        scales: Scales,
        log_weights: Float[Array, " draws"],
    ) -> Float[Array, " n"]:
        """Return the mean entropy of outcomes whose latent number is known, in nats.

        `mean`, `variance`, `side`, `scales` and `log_weights` are as in `predictive`.
        """


class AbstractDiscreteLikelihood(AbstractLikelihood):
    """A likelihood of whole numbers, whose predictive is a mixture over places of the latent number."""

    def noise_entropy(self, mean, variance, side, scales, log_weights):
        known = self.predictive(mean, variance, side, scales, log_weights)
        assert isinstance(known, AbstractNumericMixture)
        # The components stand for latent numbers that are known.
        return jnp.tensordot(jax.nn.softmax(known.log_weights), jax.lax.map(lambda part: part.entropy(), known.components), 1)


def nodes(
    mean: Float[Array, "draws n"], variance: Float[Array, "draws n"], log_weights: Float[Array, " draws"]
) -> tuple[Float[Array, "components n 1"], Float[Array, " components"]]:
    """Return the points of Gauss-Hermite quadrature over normals, with their log weights. One draw's points lie together.

    - `mean`, `variance`: those of each normal at each row.
    - `log_weights`: log weights of the normals.
    """
    places, weights = np.polynomial.hermite_e.hermegauss(NODES)
    latent = mean[:, None] + jnp.sqrt(variance)[:, None] * jnp.asarray(places, mean.dtype)[None, :, None]
    each = log_weights[:, None] + jnp.asarray(np.log(weights / weights.sum()), mean.dtype)[None]
    return latent.reshape(-1, latent.shape[-1], 1), each.ravel()


def over_nodes(values: Float[Array, "draws n"]) -> Float[Array, "components n 1"]:
    """Return `values` of each draw, repeated for each of its points."""
    return jnp.repeat(values, NODES, 0)[..., None]
