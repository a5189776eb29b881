"""How trajectories of adapted policies improve the meta-parameters: the contract, and the first-order steps."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from bmaml.errors import InputError, PairError
from bmaml.inference.optax_steps import optax_update
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLearner, Meta
from bmaml.objectives.base import AbstractObjective
from bmaml.objectives.policy import PolicyLoss, adapted_actions, gathered
from bmaml.training.meta_step import MetaBatch, batch_gradient, finite
from bmaml.training.method import AbstractMethod
from bmaml.training.plan import Plan

Moved = tuple[Meta, Any, Bool[Array, ""]]


class AbstractOuterStep(eqx.Module):
    """Moves the meta-parameters, given what policies gathered before and after adaptation. A pure function without rollouts."""

    @abstractmethod
    def check(self, learner: AbstractLearner, objective: AbstractObjective) -> None:
        """Raise PairError ("X needs Y because Z; use W") if `learner` or `objective` does not fit."""

    @abstractmethod
    def start(self, plan: Plan, meta: Meta) -> PyTree[Any]:
        """Return the state before the first step, for meta-parameters `meta` trained by `plan`."""

    @abstractmethod
    def __call__(self, method: AbstractMethod, plan: Plan, meta: Meta, state: PyTree[Any], batch: MetaBatch) -> Moved:
        """Return the meta-parameters after one step, the next state, and whether all that led there is finite."""


def needs_policy_loss(who: str, objective: AbstractObjective) -> None:
    """Check that `objective` is a surrogate return; `who` is the name of the outer step in the message.

    Raises: PairError if it is not.
    """
    if not isinstance(objective, PolicyLoss):
        raise PairError(
            f"{who} needs PolicyLoss because it limits how far policies move for a surrogate return, which "
            f"{type(objective).__name__} is not; use GradientStep."
        )


@register("outer-step/gradient")
class GradientStep(AbstractOuterStep):
    """One step of the plan's optimiser along the objective's gradient, for any objective (the chaser, Reptile)."""

    def check(self, learner, objective):
        pass

    def start(self, plan, meta):
        return plan.outer.build(plan.steps).init(meta)

    def __call__(self, method, plan, meta, state, batch):
        _, each, gradient, _ = batch_gradient(method, meta, batch, plan.accumulation_steps)
        updates, state = optax_update(plan.outer.build(plan.steps), gradient, state, meta)
        return eqx.apply_updates(meta, updates), state, finite(each, gradient)


@register("outer-step/clipped")
class ClippedSteps(AbstractOuterStep):
    """Several steps of the plan's optimiser on the same trajectories, with a clipped ratio of probabilities.

    The gain of an action with weight w is min(r w, clip(r, 1 - clip, 1 + clip) w). Here r is the ratio of the action's
    probability under the adapted policy to the probability at the start of the meta-step: Schulman et al. (2017), equation 7,
    https://arxiv.org/abs/1707.06347. With the inner surrogate `"ratio"` this is the outer step of Rothfuss et al. (2019),
    https://arxiv.org/abs/1810.06784. The plan's schedule counts the step of every epoch.

    - `clip`: half-width of the range of ratios that can gain.
    - `epochs`: steps on the same trajectories.

    Raises: InputError for fewer than one epoch, or a `clip` outside 0 to 1.
    """

    clip: float = eqx.field(static=True, default=0.2)
    epochs: int = eqx.field(static=True, default=5)

    def __check_init__(self):
        if self.epochs < 1 or not 0 < self.clip < 1:
            raise InputError(f"{self.epochs} epochs clipped at {self.clip}: give at least 1, and a clip between 0 and 1.")

    def check(self, learner, objective):
        needs_policy_loss("ClippedSteps", objective)

    def start(self, plan, meta):
        return plan.outer.build(plan.steps * self.epochs).init(meta)

    def __call__(self, method, plan, meta, state, batch):
        outer, query = plan.outer.build(plan.steps * self.epochs), jax.vmap(gathered)(batch.tasks)

        def log_probs(meta: Meta) -> Array:
            def task_gain(task, key, y):
                return adapted_actions(method.learner, meta, task, key=key).log_prob(y)

            return jax.vmap(task_gain)(batch.tasks, batch.keys, query.y)

        before = log_probs(meta)

        def loss(meta: Meta) -> Array:
            ratio = jnp.exp(log_probs(meta) - before)
            clipped = jnp.clip(ratio, 1 - self.clip, 1 + self.clip)
            gain = jnp.minimum(ratio * query.mask, clipped * query.mask).sum((-2, -1))
            return -gain.mean()

        def epoch(_, carry: tuple[Meta, PyTree[Any]]) -> tuple[Meta, PyTree[Any]]:
            meta, state = carry
            updates, state = optax_update(outer, jax.grad(loss)(meta), state, meta)
            return eqx.apply_updates(meta, updates), state

        moved, state = jax.lax.fori_loop(0, self.epochs, epoch, (meta, state))
        return moved, state, finite(moved)
