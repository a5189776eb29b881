"""The contract of a direction: where the particles of one task move, given the gradients of their log posteriors."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar

import equinox as eqx
from jaxtyping import PRNGKeyArray

Particles = TypeVar("Particles")


class AbstractDirection(eqx.Module):
    """Says in which direction particles move. The step rule says how far."""

    @abstractmethod
    def __call__(self, particles: Particles, scores: Particles, *, key: PRNGKeyArray) -> Particles:
        """Return the ascent direction of each particle.

        `particles` and `scores` are pytrees of the same structure whose leaves have the particle axis first; a score is
        the gradient of a particle's log posterior density.
        """
