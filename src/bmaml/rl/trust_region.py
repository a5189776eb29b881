"""Trust region policy optimisation through the adaptation: a natural gradient step with a limit on how far policies move."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.data import Task
from bmaml.distributions import AbstractDistribution, kl_divergence
from bmaml.errors import InputError
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLearner, Meta
from bmaml.objectives.policy import adapted_actions, gathered, policies, ratio_gain
from bmaml.rl.outer_steps import AbstractOuterStep, needs_policy_loss
from bmaml.training.meta_step import MetaBatch, finite
from bmaml.training.method import AbstractMethod

Each = Float[Array, " particles"]
_TINY = 1e-30


@register("outer-step/trust-region")
class TrustRegion(AbstractOuterStep):
    """One natural gradient step on the adapted policies' surrogate return, with a limit on their mean KL divergence.

    The direction x solves F x = g by conjugate gradients. g is the meta-gradient of the surrogate return. F is the Hessian of
    the divergence of the adapted policies from their old selves, averaged over the steps taken and over tasks, + `damping`. F v
    is J^T H J v. J is the derivative of the adapted policies' distributions in the meta-parameters (linearised once, then
    transposed). H is the divergence's Hessian in the parameters of the distributions. At equal policies this product is the
    Hessian itself. The step sqrt(2 max_kl / x^T F x) x is shortened until the surrogate has gained and the divergence is below
    its limit. From Schulman et al. (2015), appendix C, https://arxiv.org/abs/1502.05477; Finn et al. (2017),
    https://arxiv.org/abs/1703.03400.

    Particles that adapt separately have their own products, step and limit: an ensemble consists of independent learners.
    Coupled particles share these, and the limit is on the mean over particles.

    - `max_kl`: limit on the mean KL divergence, in nats.
    - `cg_steps`: steps of conjugate gradients.
    - `damping`: is added to F.
    - `backtracks`: most times that the step is shortened. After that nothing moves.
    - `shrink`: factor of each shortening.
    - `fisher_episodes`: use this many of each policy's episodes for the products, before and after adaptation, instead of all.

    Raises: InputError for a limit, damping or shrink out of range, or counts below 1.
    """

    max_kl: float = eqx.field(static=True, default=0.01)
    cg_steps: int = eqx.field(static=True, default=10)
    damping: float = eqx.field(static=True, default=1e-5)
    backtracks: int = eqx.field(static=True, default=15)
    shrink: float = eqx.field(static=True, default=0.8)
    fisher_episodes: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if not self.max_kl > 0 or not self.damping >= 0 or not 0 < self.shrink < 1:
            raise InputError(
                f"trust region of {self.max_kl} nats, damping {self.damping} and shrink {self.shrink}: give a limit above 0, "
                "a damping of at least 0 and a shrink between 0 and 1."
            )
        if min(self.cg_steps, self.backtracks, self.fisher_episodes or 1) < 1:
            raise InputError(
                f"{self.cg_steps} iterations, {self.backtracks} backtracks and {self.fisher_episodes} episodes: "
                "give at least 1 of each."
            )

    def check(self, learner, objective):
        needs_policy_loss("TrustRegion", objective)

    def start(self, plan, meta):
        return None

    def __call__(self, method, plan, meta, state, batch):
        share = Shared(method.learner)
        judged = _Judged.of(method, meta, batch)
        fisher = self.fisher_product(method, meta, batch)
        x, image = conjugate_gradients(fisher, judged.gradient, self.cg_steps, share)
        curvature = share.dot(x, image)
        length = jnp.sqrt(2 * self.max_kl / jnp.maximum(curvature, _TINY))
        moved = self._search(judged, share, meta, scaled(x, length))
        return moved, None, finite(judged.gradient, x, moved)

    def fisher_product(self, method: AbstractMethod, meta: Meta, batch: MetaBatch) -> Callable[[Meta], Meta]:
        """Return the product of a meta-tangent with F + damping, summed over the particles' own divergences.

        `method`, `meta` and `batch` are the method, its meta-parameters and what it gathered.
        """
        query = _some(batch, self.fisher_episodes)
        old, push = jax.linearize(lambda m: _actions(method.learner, m, query), meta)
        pull = jax.linear_transpose(push, meta)
        slope = jax.grad(lambda new: _divergence(old, new, query).sum())

        def product(tangent: Meta) -> Meta:
            (back,) = pull(jax.jvp(slope, (old,), (push(tangent),))[1])
            return jax.tree.map(lambda b, t: b + self.damping * t, back, tangent)

        return product

    def _search(self, judged: _Judged, share: Shared, meta: Meta, step: Meta) -> Meta:
        """Return the meta-parameters after the longest shortened step that fits, for each particle."""

        def trial(length: Each) -> Meta:
            return jax.tree.map(jnp.add, meta, scaled(step, length))

        def fits(length: Each) -> Array:
            gain, kl = judged(trial(length))
            return (share.mean(gain - judged.start) > 0) & (share.mean(kl) <= self.max_kl)

        def shorten(carry: tuple[Array, Each, Array]) -> tuple[Array, Each, Array]:
            count, length, good = carry
            length = jnp.where(good, length, length * self.shrink)
            return count + 1, length, good | fits(length)

        # The first pass shortens the length to 1, so the program contains one trial instead of two.
        length = jnp.full_like(judged.start, 1 / self.shrink)
        start = (jnp.zeros((), jnp.int32), length, jnp.zeros(length.shape, bool))
        _, length, good = jax.lax.while_loop(lambda c: (c[0] < self.backtracks) & ~c[2].all(), shorten, start)
        return trial(jnp.where(good, length, 0.0))


class Shared(eqx.Module):
    """Products and means for each particle of `learner` if particles adapt separately, and one for all if they are coupled."""

    learner: AbstractLearner

    def mean(self, each: Each) -> Each:
        """Return the value of each particle in `each`, or the mean of all particles in every place."""
        if not policies(self.learner, "TrustRegion").coupled:
            return each
        return jnp.broadcast_to(each.mean(), each.shape)

    def dot(self, a: Meta, b: Meta) -> Each:
        """Return the inner products of two meta-tangents `a` and `b`."""
        pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        each = [(x * y).reshape(len(x), -1).sum(1) for x, y in pairs]
        return self.mean(functools.reduce(jnp.add, each))


def scaled(tree: Meta, factor: Each) -> Meta:
    """Return the meta-tangent `tree` with each particle's part multiplied by its own `factor`."""
    return jax.tree.map(lambda leaf: leaf * factor.reshape(-1, *[1] * (leaf.ndim - 1)), tree)


def conjugate_gradients(product: Callable[[Meta], Meta], g: Meta, cg_steps: int, share: Shared) -> tuple[Meta, Meta]:
    """Return an approximate solution x of product(x) = g after some conjugate gradient steps from 0, and product(x).

    product(x) is g minus the residual, which the steps carry along. Computing it again would cost as much as a step.

    - `product`: the matrix, as a function of a meta-tangent.
    - `g`: the right-hand side.
    - `cg_steps`: number of steps.
    - `share`: inner products of the particles.
    """

    def iterate(_, carry: tuple[Meta, Meta, Meta, Each]) -> tuple[Meta, Meta, Meta, Each]:
        x, residual, along, square = carry
        image = product(along)
        size = square / jnp.maximum(share.dot(along, image), _TINY)
        x = jax.tree.map(jnp.add, x, scaled(along, size))
        residual = jax.tree.map(jnp.subtract, residual, scaled(image, size))
        new = share.dot(residual, residual)
        along = jax.tree.map(jnp.add, residual, scaled(along, new / jnp.maximum(square, _TINY)))
        return x, residual, along, new

    start = (jax.tree.map(jnp.zeros_like, g), g, g, share.dot(g, g))
    x, residual, _, _ = jax.lax.fori_loop(0, cg_steps, iterate, start)
    return x, jax.tree.map(jnp.subtract, g, residual)


class _Judged(NamedTuple):
    """The surrogate return and divergence of new meta-parameters, and the gradient of the return at the start."""

    method: AbstractMethod
    batch: MetaBatch
    old: AbstractDistribution
    start: Each
    gradient: Meta

    @staticmethod
    def of(method: AbstractMethod, meta: Meta, batch: MetaBatch) -> _Judged:
        def gains(meta: Meta) -> tuple[Array, tuple[AbstractDistribution, Each]]:
            chosen = _actions(method.learner, meta, batch)
            each = _gain(jax.lax.stop_gradient(chosen), chosen, batch)
            return each.sum(), (chosen, each)

        gradient, (old, start) = jax.grad(gains, has_aux=True)(meta)
        return _Judged(method, batch, old, start, gradient)

    def __call__(self, meta: Meta) -> tuple[Each, Each]:
        chosen = _actions(self.method.learner, meta, self.batch)
        return _gain(self.old, chosen, self.batch), _divergence(self.old, chosen, self.batch)


def _actions(learner: AbstractLearner, meta: Meta, batch: MetaBatch) -> AbstractDistribution:
    """Return the adapted policies' distributions, with axes (tasks, particles, episodes, horizon)."""

    def task_actions(given: tuple[Task, PRNGKeyArray]) -> AbstractDistribution:
        return adapted_actions(learner, meta, given[0], key=given[1])

    # The activations of one task fit a core's cache, and those of all tasks do not. Task by task, a CPU takes 0.8 of the
    # time.
    over = jax.lax.map if jax.default_backend() == "cpu" else lambda function, given: jax.vmap(function)(given)
    return over(task_actions, (batch.tasks, batch.keys))


def _gain(old: AbstractDistribution, new: AbstractDistribution, batch: MetaBatch) -> Each:
    def task_gain(old: AbstractDistribution, new: AbstractDistribution, task: Task) -> Each:
        query = gathered(task)
        return ratio_gain(new.log_prob(query.y), old.log_prob(query.y), query)

    return jax.vmap(task_gain)(old, new, batch.tasks).mean(0)


def _divergence(old: AbstractDistribution, new: AbstractDistribution, batch: MetaBatch) -> Each:
    """Return KL(old || new), averaged over the steps taken and over tasks. A step of weight 0 counts as not taken."""

    def task_divergence(old: AbstractDistribution, new: AbstractDistribution, task: Task) -> Each:
        taken = (gathered(task).mask != 0).astype(gathered(task).mask.dtype)
        return (kl_divergence(old, new) * taken).sum((-2, -1)) / jnp.maximum(taken.sum((-2, -1)), 1.0)

    return jax.vmap(task_divergence)(old, new, batch.tasks).mean(0)


def _some(batch: MetaBatch, episodes: int | None) -> MetaBatch:
    """Return the batch with this many episodes of each policy. The weights are scaled up to stand for all episodes."""
    if episodes is None:
        return batch
    total = batch.tasks.query.mask.shape[-2]
    few: PyTree[Any] = jax.tree.map(lambda leaf: leaf[:, :, :, :episodes], batch.tasks)
    factor = total / min(episodes, total)
    few = eqx.tree_at(lambda t: (t.support.mask, t.query.mask), few, replace_fn=lambda mask: mask * factor)
    return MetaBatch(few, batch.keys)
