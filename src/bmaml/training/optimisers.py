"""Outer optimisers as plain records, so that a run's file can name its own."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import optax.contrib
from jaxtyping import PyTree

from bmaml.errors import InputError, said
from bmaml.io.registry import register

Decay = Literal["cosine", "exponential", "none"]


class AbstractOuter(eqx.Module):
    """How meta-gradients update the meta-parameters."""

    @abstractmethod
    def build(self, steps: int) -> optax.GradientTransformation:
        """Return the optax transformation for a run of `steps` meta-steps."""

    @abstractmethod
    def schedule(self, steps: int) -> optax.Schedule | None:
        """Return the learning rate as a function of the meta-steps made, for a run of `steps` meta-steps, or None if it
        is unknown.
        """


@register("outer/adam")
class Adam(AbstractOuter):
    """Adam with decoupled weight decay, a global-norm clip and a schedule over the run: https://arxiv.org/abs/1412.6980.

    - `learning_rate`: the rate before the schedule.
    - `decay`: `"cosine"` warms up and then falls to 0. `"exponential"` multiplies the rate by 0.98 over each hundredth
      of the run, a little at each meta-step, as the code of Kim et al. (2018) does. `"none"` keeps the rate.
    - `warmup`: share of the run that warms up, from a rate of 0. So the first meta-step moves nothing but the averages of
      Adam, and a run of one meta-step trains nothing (`decay="none"` does).
    - `clip`: bound on the gradient's global norm (None: no bound).
    - `weight_decay`: decoupled weight decay.

    Raises: InputError for a rate or clip that is not above 0, another `decay`, a warmup outside 0 to 1 or a negative decay.
    """

    learning_rate: float = eqx.field(static=True, default=1e-3)
    decay: Decay = eqx.field(static=True, default="cosine")
    warmup: float = eqx.field(static=True, default=0.02)
    clip: float | None = eqx.field(static=True, default=None)
    weight_decay: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        _check_schedule(self.learning_rate, self.decay, self.warmup)
        _check_limits(self.clip, self.weight_decay)

    def schedule(self, steps):
        return _schedule(self.learning_rate, self.decay, self.warmup, steps)

    def build(self, steps):
        rule = optax.adamw(self.schedule(steps), weight_decay=self.weight_decay)
        if not self.weight_decay:
            rule = optax.adam(self.schedule(steps))
        return _clipped(rule, self.clip)


@register("outer/muon")
class Muon(AbstractOuter):
    """Muon for the weight matrices of networks, Adam with Nesterov's momentum for everything else.

    Weight matrices are the leaves named weight or kernel, in their last two axes. Leading axes (particles) hold separate
    matrices. Muon steps along the nearest orthogonal matrix to the averaged gradient (Jordan et al., 2024), so directions of
    small gradient move as fast as the others. Regression down to a small noise then needs several times fewer meta-steps than
    with Adam.

    - `learning_rate`: Muon's rate; `adam_learning_rate` is Adam's.
    - `decay`, `warmup`, `clip`, `weight_decay`: as in `Adam`.

    Raises: InputError in the cases of `Adam`.
    """

    learning_rate: float = eqx.field(static=True, default=1e-2)
    adam_learning_rate: float = eqx.field(static=True, default=3e-3)
    decay: Decay = eqx.field(static=True, default="cosine")
    warmup: float = eqx.field(static=True, default=0.02)
    clip: float | None = eqx.field(static=True, default=None)
    weight_decay: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        for learning_rate in (self.learning_rate, self.adam_learning_rate):
            _check_schedule(learning_rate, self.decay, self.warmup)
        _check_limits(self.clip, self.weight_decay)

    def schedule(self, steps):
        return _schedule(self.learning_rate, self.decay, self.warmup, steps)

    def build(self, steps):
        rule = optax.contrib.muon(
            self.schedule(steps),
            adam_learning_rate=_schedule(self.adam_learning_rate, self.decay, self.warmup, steps),
            weight_decay=self.weight_decay,
            adam_weight_decay=self.weight_decay,
            muon_weight_dimension_numbers=_matrices,
        )
        return _clipped(rule, self.clip)


def _matrices(params: PyTree[Any]) -> PyTree[Any]:
    """Mark which leaves are weight matrices, in their last two axes."""

    def mark(path, leaf):
        last = jax.tree_util.keystr(path[-1:], simple=True)
        named = last in ("weight", "kernel")
        return optax.contrib.MuonDimensionNumbers(-2, -1) if named and jnp.ndim(leaf) >= 2 else None

    return jax.tree_util.tree_map_with_path(mark, params)


def _schedule(learning_rate: float, decay: Decay, warmup: float, steps: int) -> optax.Schedule:
    if decay == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0, learning_rate, max(int(warmup * steps), 1), max(steps, 2))
    if decay == "exponential":
        return optax.exponential_decay(learning_rate, steps, 0.98**100)
    return optax.constant_schedule(learning_rate)


def _clipped(rule: optax.GradientTransformation, clip: float | None) -> optax.GradientTransformation:
    return rule if clip is None else optax.chain(optax.clip_by_global_norm(clip), rule)


def _check_schedule(learning_rate: float, decay: str, warmup: float) -> None:
    if not learning_rate > 0 or decay not in get_args(Decay):
        raise InputError(
            f"outer rate {learning_rate} and decay {decay!r}: give a rate above 0 and 'cosine', 'exponential' or 'none'."
        )
    if not 0 <= warmup < 1:
        raise InputError(f"warmup is {warmup}: give a share of the run, at least 0 and below 1.")


def _check_limits(clip: float | None, weight_decay: float) -> None:
    if (clip is not None and not clip > 0) or not weight_decay >= 0:
        raise InputError(
            f"outer clip {clip} and weight decay {weight_decay}: give a clip above 0 (or None for no clip) "
            "and a weight decay of at least 0."
        )


@register("outer/custom")
class CustomOuter(AbstractOuter):
    """Any optax `transformation`. A file does not hold it: hand it to `resume` or `load` again."""

    transformation: optax.GradientTransformation = eqx.field(static=True)

    def build(self, steps):
        return self.transformation

    def schedule(self, steps):
        return None


def as_outer(given: Any) -> AbstractOuter:
    """Return `given` as an outer optimiser. An optax transformation becomes a `CustomOuter`.

    Raises: InputError for anything else, with what to write.
    """
    if isinstance(given, optax.GradientTransformation):
        return CustomOuter(given)
    if isinstance(given, AbstractOuter):
        return given
    raise InputError(f"outer is {said(given)}: give bmaml.Adam(0.001), or an optax optimiser such as optax.adam(0.001).")
