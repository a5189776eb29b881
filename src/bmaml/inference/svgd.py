"""SVGD as an inference of its own: particles for any density."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from bmaml.errors import InputError
from bmaml.inference.directions import RBF, Stein
from bmaml.inference.optax_steps import optax_update
from bmaml.io.checked import Positive, checked


@checked
def svgd(
    log_density: Callable[[PyTree], Array],
    particles: PyTree,
    *,
    steps: int = 1000,
    learning_rate: Positive = 0.1,
    optimiser: optax.GradientTransformation | None = None,
    kernel: RBF | None = None,
    record: Sequence[int] = (),
) -> SvgdResult:
    """Move particles by Stein variational gradient descent until they approximate a density.

    The steps run in one compiled loop. From Liu and Wang (2016), algorithm 1, https://arxiv.org/abs/1608.04471.

    - `log_density`: takes one particle and returns a scalar in nats, up to a constant.
    - `particles`: a pytree with the particle axis first.
    - `steps`: number of steps.
    - `learning_rate`: step size of Liu and Wang's rule (AdaGrad with a decaying memory of 0.9).
    - `optimiser`: any optax optimiser instead of that rule.
    - `kernel`: the kernel; an RBF with the median heuristic by default.
    - `record`: the steps whose particles are kept (0 is the start).

    Raises: InputError for negative steps, a recorded step after the last one, or a log density that is no single number.

    >>> start = jax.random.normal(jax.random.key(0), (20, 1))
    >>> found = svgd(lambda w: -jnp.sum((w - 3.0) ** 2) / 2, start, steps=500)
    >>> print(f"mean {found.particles.mean():.1f}, deviation {found.particles.std():.1f}")
    mean 3.0, deviation 0.9
    """
    if steps < 0 or any(not 0 <= r <= steps for r in record):
        raise InputError(f"{steps} steps and record {tuple(record)}: give steps >= 0 and records between 0 and steps.")
    shape = jax.eval_shape(log_density, jax.tree.map(lambda leaf: leaf[0], particles)).shape
    if shape:
        raise InputError(f"the log density of a particle has shape {shape}: give a function that returns one number.")
    rule = optimiser or liu_wang_rule(learning_rate)
    direction = Stein(kernel or RBF())
    score = jax.vmap(jax.grad(log_density))

    @jax.jit
    def run(carry, count):
        def step(_, carry):
            particles, state = carry
            phi = direction(particles, score(particles))
            updates, state = optax_update(rule, jax.tree.map(jnp.negative, phi), state, particles)
            return optax.apply_updates(particles, updates), state

        return jax.lax.fori_loop(0, count, step, carry)

    carry, at, kept = (particles, rule.init(particles)), 0, []
    for mark in sorted({*record, steps}):
        carry = run(carry, mark - at)
        at = mark
        kept.append((mark, carry[0]))
    recorded = [dict(kept)[r] for r in record]
    return SvgdResult(carry[0], jax.tree.map(lambda *leaves: jnp.stack(leaves), *recorded) if recorded else None)


class SvgdResult(eqx.Module):
    """The final `particles`, and those of the `recorded` steps, stacked on a leading axis (None without any)."""

    particles: PyTree
    recorded: PyTree


def liu_wang_rule(learning_rate: float | Array, memory: float = 0.9) -> optax.GradientTransformation:
    """The step rule of Liu and Wang's code: g / (1e-6 + sqrt(G)), where G is the running mean of g^2 and starts at the first
    g^2.

    `learning_rate` is the step size, and `memory` is the share of the last G that the next G keeps.
    """

    def init(params):
        return jax.tree.map(jnp.zeros_like, params), jnp.zeros((), jnp.int32)

    def update(updates, state, params=None):
        squares, count = state
        keep = jnp.where(count == 0, 0.0, memory)
        squares = jax.tree.map(lambda s, g: keep * s + (1 - keep) * g**2, squares, updates)
        steps = jax.tree.map(lambda g, s: -learning_rate * g / (1e-6 + jnp.sqrt(s)), updates, squares)
        return steps, (squares, count + 1)

    return optax.GradientTransformation(init, update)
