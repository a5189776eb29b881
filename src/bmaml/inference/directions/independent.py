"""Each particle climbs its own log posterior."""

from __future__ import annotations

from bmaml.inference.directions.base import AbstractDirection
from bmaml.io.registry import register


@register("direction/independent")
class Independent(AbstractDirection):
    """Gradient ascent of every particle by itself (an ensemble; MAML with one particle)."""

    def __call__(self, particles, scores, *, key):
        return scores
