"""The size of an inner step: plain, with learned rates (Meta-SGD), or any optax optimiser."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from bmaml.errors import InputError, PairError, said
from bmaml.inference.optax_steps import optax_update
from bmaml.io.registry import register


class AbstractRule(eqx.Module):
    """A step rule. It may carry a state over the steps of a task, and meta-parameters over tasks."""

    @abstractmethod
    def init_meta(self, particle: PyTree[Any]) -> PyTree[Any]:
        """Return the rule's own meta-parameters for one `particle` (None if the rule learns nothing)."""

    @abstractmethod
    def start(self, particles: PyTree[Any]) -> PyTree[Any]:
        """Return the state before the first step of `particles`."""

    @abstractmethod
    def step(self, meta: PyTree[Any], state: PyTree[Any], direction: PyTree[Any]) -> tuple[PyTree[Any], PyTree[Any]]:
        """Return the ascent step for a `direction`, and the next state, given the rule's `meta` and its `state`."""


@register("rule/sgd")
class Sgd(AbstractRule):
    """A plain step of size `learning_rate` along the direction.

    Raises: InputError for a rate that is not above 0.
    """

    learning_rate: float = eqx.field(static=True, default=1e-2)

    def __check_init__(self):
        if not self.learning_rate > 0:
            raise InputError(f"inner rate is {self.learning_rate}: give a number above 0.")

    def init_meta(self, particle):
        return None

    def start(self, particles):
        return None

    def step(self, meta, state, direction):
        return jax.tree.map(lambda d: self.learning_rate * d, direction), None


@register("rule/learned-rates")
class LearnedRates(AbstractRule):
    """A learned rate for every parameter, which starts at `learning_rate`. Rates may become negative.

    Meta-SGD: Li et al. (2017), https://arxiv.org/abs/1707.09835.
    Raises: InputError for a rate that is not finite.
    """

    learning_rate: float = eqx.field(static=True, default=1e-2)

    def __check_init__(self):
        if not math.isfinite(self.learning_rate):
            raise InputError(f"inner rate is {self.learning_rate}: give a finite number.")

    def init_meta(self, particle):
        return jax.tree.map(lambda leaf: jnp.full_like(leaf, self.learning_rate), particle)

    def start(self, particles):
        return None

    def step(self, meta, state, direction):
        return jax.tree.map(jnp.multiply, meta, direction), None


@register("rule/optax")
class Optax(AbstractRule):
    """Any optax `optimiser` as the inner step rule. For Adam set `eps_root`, because its meta-gradient is infinite at 0
    otherwise.

    Raises: InputError for anything that is no optax optimiser.
    """

    optimiser: optax.GradientTransformation = eqx.field(static=True)

    def __check_init__(self):
        if not isinstance(self.optimiser, optax.GradientTransformation):
            raise InputError(f"the inner optimiser is {said(self.optimiser)}: give an optax optimiser such as optax.sgd(0.01).")

    def init_meta(self, particle):
        return None

    def start(self, particles):
        return self.optimiser.init(particles)

    def step(self, meta, state, direction):
        # optax descends, and a direction ascends.
        updates, state = optax_update(self.optimiser, jax.tree.map(jnp.negative, direction), state)
        return updates, state


class AbstractRuleAround(AbstractRule):
    """A rule that changes the steps of another `rule`, which learns and remembers what it does by itself."""

    rule: eqx.AbstractVar[AbstractRule]

    def init_meta(self, particle):
        return self.rule.init_meta(particle)

    def start(self, particles):
        return self.rule.start(particles)


@register("rule/scaled")
class Scaled(AbstractRuleAround):
    """Another `rule` with its steps multiplied by `factor`."""

    rule: AbstractRule
    factor: float = eqx.field(static=True)

    def step(self, meta, state, direction):
        move, state = self.rule.step(meta, state, direction)
        return jax.tree.map(lambda leaf: self.factor * leaf, move), state


@register("rule/selected")
class Selected(AbstractRuleAround):
    """Another `rule` for some of a particle's arrays. The others stay where adaptation starts.

    - `rule`: moves the chosen arrays.
    - `moved`: for each array of a particle, in JAX's order of leaves, whether it moves.

    Raises: InputError if no array moves.
    """

    rule: AbstractRule
    moved: tuple[bool, ...] = eqx.field(static=True)

    def __check_init__(self):
        if not any(self.moved):
            raise InputError(f"moved is {self.moved}, and then nothing adapts: give True for the arrays that move.")

    def step(self, meta, state, direction):
        move, state = self.rule.step(meta, state, direction)
        leaves, kind = jax.tree.flatten(move)
        if len(leaves) != len(self.moved):
            raise PairError(
                f"Selected needs True or False for each of the {len(leaves)} arrays of a particle because it says which move, "
                f"and it has {len(self.moved)}; give as many."
            )
        kept = [leaf if moves else jnp.zeros_like(leaf) for leaf, moves in zip(leaves, self.moved, strict=True)]
        return jax.tree.unflatten(kind, kept), state


def unscaled(rule: AbstractRule) -> AbstractRule:
    """Return `rule` without any `Scaled` around it."""
    return unscaled(rule.rule) if isinstance(rule, Scaled) else rule
