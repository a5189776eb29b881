"""Outer optimisers as plain records, so that a run's file can name its own."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import equinox as eqx
import optax

Decay = Literal["cosine", "staircase", "none"]


class AbstractOuter(eqx.Module):
    """How meta-parameters are updated from meta-gradients."""

    @abstractmethod
    def build(self, steps: int) -> optax.GradientTransformation:
        """Return the optax transformation for a run of `steps` meta-steps."""


class Adam(AbstractOuter):
    """Adam with decoupled weight decay, a global-norm clip and a schedule over the run.

    `decay="cosine"` warms up over the share `warmup` of the run and falls to 0; `"staircase"` multiplies the rate by 0.98 at
    each hundredth of the run, as the code of Kim et al. (2018) does; `"none"` keeps it.
    Raises: ValueError for a rate or clip that is not above 0, another `decay`, a warmup outside 0 to 1 or a negative decay.
    """

    rate: float = eqx.field(static=True, default=1e-3)
    decay: Decay = eqx.field(static=True, default="cosine")
    warmup: float = eqx.field(static=True, default=0.02)
    clip: float | None = eqx.field(static=True, default=None)
    weight_decay: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        if not self.rate > 0 or self.decay not in ("cosine", "staircase", "none"):
            raise ValueError(
                f"outer rate {self.rate} and decay {self.decay!r}: give a rate above 0 and 'cosine', 'staircase' or 'none'."
            )

        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is {self.warmup}: give a share of the run, at least 0 and below 1.")
        if (self.clip is not None and not self.clip > 0) or not self.weight_decay >= 0:
            raise ValueError(
                f"outer clip {self.clip} and weight decay {self.weight_decay}: give a clip above 0 (or None for no clip) "
                "and a weight decay of at least 0."
            )

    def schedule(self, steps: int) -> optax.Schedule:
        """Return the rate as a function of the meta-step."""
        if self.decay == "cosine":
            return optax.warmup_cosine_decay_schedule(0.0, self.rate, max(int(self.warmup * steps), 1), max(steps, 2))
        if self.decay == "staircase":
            return optax.exponential_decay(self.rate, max(steps // 100, 1), 0.98, staircase=True)
        return optax.constant_schedule(self.rate)

    def build(self, steps):
        rule = optax.adamw(self.schedule(steps), weight_decay=self.weight_decay)
        if not self.weight_decay:
            rule = optax.adam(self.schedule(steps))
        return rule if self.clip is None else optax.chain(optax.clip_by_global_norm(self.clip), rule)


class CustomOuter(AbstractOuter):
    """Any optax transformation. A run with one cannot be resumed by name: hand it to `train` again."""

    transformation: optax.GradientTransformation = eqx.field(static=True)

    def build(self, steps):
        return self.transformation
