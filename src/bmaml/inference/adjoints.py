"""How the meta-gradient passes through the inner loop."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from jaxtyping import PyTree

from bmaml.errors import InputError, PairError
from bmaml.inference.directions import AbstractDirection, Independent
from bmaml.inference.priors import AbstractPrior, AroundInit
from bmaml.io.registry import register


@runtime_checkable
class HasParticles(Protocol):
    """A state of adaptation. The particles move, and everything else in the state belongs to the step rule."""

    @property
    def particles(self) -> PyTree[Any]:
        """Return the particles."""
        ...


Tree = TypeVar("Tree")
State = TypeVar("State", bound=HasParticles)
Step = Callable[[State, Any], State]
# Short inner loops are unrolled. The first step then sees that tasks share the start, and BMAML's five steps take 0.6 of
# the time. Longer ones stay a loop, because the unrolled program would take minutes to compile.
_UNROLL = 5


class AbstractAdjoint(eqx.Module):
    """Runs the inner steps and says how their result depends on the start."""

    @abstractmethod
    def check(self, prior: AbstractPrior, direction: AbstractDirection) -> None:
        """Raise PairError ("X needs Y because Z; use W") if `prior` or `direction` does not fit."""

    @abstractmethod
    def run(self, step: Step, state: State, given: PyTree[Any], scores: Callable[[PyTree[Any]], PyTree[Any]]) -> State:
        """Return the state after one `step(state, entry)` for each entry of `given` (the leading axis of its leaves).

        `state` is the start. `scores(particles)` is the gradient of what the particles climb, which is 0 at the solution.
        """

    @abstractmethod
    def gradient(self, tree: Tree) -> Tree:
        """Return the inner gradient `tree` in the form that the meta-gradient sees."""


def _loop(step: Step, state: State, given: PyTree[Any]) -> State:
    return jax.lax.scan(lambda s, entry: (step(s, entry), None), state, given)[0]


def _run(step: Step, state: State, given: PyTree[Any]) -> State:
    count = len(jax.tree.leaves(given)[0])
    if count > _UNROLL:
        return _loop(step, state, given)
    # Traced once, and then copied into the program, so that many steps cost little more Python than one.
    once = jax.jit(step, inline=True) if count > 1 else step
    for i in range(count):
        state = once(state, _entry(given, i))
    return state


def _entry(tree: PyTree[Any], i: int) -> PyTree[Any]:
    return jax.tree.map(lambda leaf: leaf[i], tree)


@register("adjoint/unrolled")
class Unrolled(AbstractAdjoint):
    """Differentiates through every inner step, second derivatives included.

    With `checkpoint=True` the backward pass computes the inside of each step again. Memory for a step falls to one copy of the
    particles, and the work grows by about a third.
    """

    checkpoint: bool = eqx.field(static=True, default=False)

    def check(self, prior, direction):
        pass

    def run(self, step, state, given, scores):
        if not self.checkpoint:
            return _run(step, state, given)
        # Checkpointed steps must stay a loop. If they were unrolled, XLA might merge the recomputation with the first
        # computation.
        return _loop(jax.checkpoint(step), state, given)

    def gradient(self, tree):
        return tree


@register("adjoint/first-order")
class FirstOrder(AbstractAdjoint):
    """Treats inner gradients as constants: the meta-gradient is that of the adapted parameters (FOMAML, Reptile)."""

    def check(self, prior, direction):
        pass

    def run(self, step, state, given, scores):
        return _run(step, state, given)

    def gradient(self, tree):
        return jax.lax.stop_gradient(tree)


def _frozen(function: Callable[[Tree], Any], example: Tree) -> Callable[[Tree], Any]:
    """Return the function with its argument and its closure as constants, so that JAX prepares no derivative."""
    pure, closed = jax.closure_convert(function, example)
    return lambda tree: pure(*jax.lax.stop_gradient((tree, *closed)))


@register("adjoint/implicit")
class Implicit(AbstractAdjoint):
    """Differentiates the solution that the steps lead to, not the steps (iMAML). So memory does not grow with their number.

    Where the scores are 0, d(solution) = H^-1 d(scores). H is the Hessian of minus the log posterior at the last step. The
    gradient is as accurate as the solution that the steps reached, and it needs a positive definite H. So give the prior a
    precision above the likelihood's negative curvature. The prior must be anchored at the start, since otherwise the solution
    does not depend on the start. From Rajeswaran et al. (2019), algorithms 1 and 2, https://arxiv.org/abs/1909.04630.

    - `cg_steps`: most steps of the conjugate gradients that apply H^-1.
    - `tolerance`: relative residual at which they stop.

    Raises: InputError for fewer than one step or a negative tolerance.
    """

    cg_steps: int = eqx.field(static=True, default=10)
    tolerance: float = eqx.field(static=True, default=1e-5)

    def __check_init__(self):
        if self.cg_steps < 1 or self.tolerance < 0:
            raise InputError(
                f"{self.cg_steps} conjugate gradient iterations and a tolerance of {self.tolerance}: give at least 1 and "
                "at least 0."
            )

    def check(self, prior, direction):
        if not isinstance(prior, AroundInit):
            raise PairError(
                f"Implicit needs a prior anchored at the start because with {type(prior).__name__} the solution does not "
                "depend on where adaptation starts; use AroundInit, or the adjoint Unrolled."
            )
        if not isinstance(direction, Independent):
            raise PairError(
                f"Implicit needs particles that climb by themselves because {type(direction).__name__} does not come to rest "
                "where their scores are 0; use Independent, or the adjoint Unrolled."
            )

    def run(self, step, state, given, scores):
        def slopes(particles):
            return jax.tree.map(jnp.negative, scores(particles))

        end = _frozen(lambda start: _run(step, start, given), state)(state)
        slope, hessian = jax.linearize(slopes, end.particles)
        # A Newton step of value 0. Its derivative is the one that the implicit function theorem gives.
        zero = jax.tree.map(lambda leaf: leaf - jax.lax.stop_gradient(leaf), slopes(end.particles))
        newton = cg(_frozen(hessian, slope), zero, tol=self.tolerance, maxiter=self.cg_steps)[0]
        return eqx.tree_at(lambda s: s.particles, end, jax.tree.map(jnp.subtract, end.particles, newton))

    def gradient(self, tree):
        return tree
