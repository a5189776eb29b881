"""BMAML's chaser loss."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from bmaml.errors import InputError, PairError
from bmaml.io.registry import register
from bmaml.learners.base import (
    AbstractIterativeLearner,
    AbstractLearner,
    AbstractPolicyLearner,
    AbstractStatingLearner,
)
from bmaml.objectives.base import AbstractContinuingObjective
from bmaml.objectives.scoring import noise_loss


@register("objective/chaser")
class ChaserLoss(AbstractContinuingObjective):
    """Squared distance from the adapted particles (chaser) to the end of further steps on all the data (leader).

        sum over particles m of |theta_m^n - stop_gradient(theta_m^{n+s})|^2, the leader on support and query together.

    Kim et al. (2018), equation 8 and algorithm 3, https://arxiv.org/abs/1806.03836. The unit is squared parameters, one number
    for each task. Particles are paired by index. If particles gather their own data (policies), the leader continues with the
    query alone, which the chaser's particles gathered.

    Predictions may state a noise that the steps do not use. This noise then gets the gradient of the query's NLL with the
    particles held fixed. The value of the loss and what the particles learn stay the same.

    - `steps`: s, further steps of the leader. With 0 the leader is the chaser's end and the chaser the start: Reptile, with the
      gradient 2 (theta^0 - theta^n).
    - `hyper`: whether noise and weight precisions count in the distance. The authors' code leaves them out, but they still
      affect the steps.
    - `squared`: False sums the distances themselves, as the authors' code does for policies.
    """

    steps: int = eqx.field(static=True, default=1)
    hyper: bool = eqx.field(static=True, default=False)
    squared: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        if self.steps < 0:
            raise InputError(f"the leader takes {self.steps} steps: give at least 0.")

    def require(self, learner):
        self._iterative(learner)

    def _iterative(self, learner: AbstractLearner) -> AbstractIterativeLearner[Any]:
        if isinstance(learner, AbstractIterativeLearner):
            return learner
        raise PairError(
            "ChaserLoss needs a learner that adapts by steps because the leader goes on from where the chaser stopped, and "
            f"{type(learner).__name__} takes none; use QueryLoss."
        )

    def loss(self, learner, meta, task, *, key):
        learner = self._iterative(learner)
        chase_key, lead_key = jax.random.split(key)
        start = learner.start(meta, task.support, key=jax.random.fold_in(key, 2))
        chaser = learner.advance(meta, start, task.support, learner.steps, key=chase_key)
        adapted = chaser
        if self.steps == 0:
            chaser, leader = start, chaser
        else:
            # Policies gather their own data, and the query is what the chaser's particles gathered.
            more = task.query if isinstance(learner, AbstractPolicyLearner) else task.support | task.query
            leader = learner.advance(meta, chaser, more, self.steps, key=lead_key)
        distance = self._distance(*(learner.position(state, self.hyper) for state in (chaser, jax.lax.stop_gradient(leader))))
        if isinstance(learner, AbstractStatingLearner) and learner.states_noise:
            stated = learner.finish(meta, jax.lax.stop_gradient(adapted), task.support, key=chase_key)
            distance = distance + noise_loss(stated.predict(task.query.x), task.query)
        return distance, {}

    def _distance(self, chaser: PyTree[Any], leader: PyTree[Any]) -> Float[Array, ""]:
        if not self.squared:
            return _distances(chaser, leader).sum()
        gaps = jax.tree.map(_square_distance, chaser, leader)
        return jnp.asarray(sum(jax.tree.leaves(gaps)))


def _distances(chaser: PyTree[Any], leader: PyTree[Any]) -> Float[Array, " particles"]:
    squares = [((a - b) ** 2).reshape(len(a), -1).sum(1) for a, b in zip(*map(jax.tree.leaves, (chaser, leader)), strict=True)]
    # Where the two coincide the distance has no gradient, and the floor makes it 0.
    return jnp.sqrt(jnp.maximum(sum(squares[1:], squares[0]), 1e-30))


def _square_distance(a: Array, b: Array) -> Float[Array, ""]:
    # Over particles first: a CPU does not vectorise a sum down to one number, and XLA merges two sums if it can.
    return jax.lax.optimization_barrier(((a - b) ** 2).sum(0)).sum()
