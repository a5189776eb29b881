"""Inferences one step at a time: each moves particles of a log density. A new one is one row of `MOVES`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from bmaml.errors import InputError
from bmaml.explore.densities import Drawing, log_density
from bmaml.inference.directions import RBF, Stein
from bmaml.inference.svgd import liu_wang_rule

LogDensity = Callable[[Array], Array]
_LEAPFROGS = 10
_DOUBLINGS = 6
# Particles that a step has thrown farther out than this stay where they were.
_FARTHEST = 1e3


class Walk(eqx.Module):
    """Particles on their way.

    - `particles`: where they are.
    - `memory`: what SVGD's step rule remembers of past gradients.
    - `steps`: steps so far.
    - `accepted`: share of the last step's proposals that were accepted (1 where nothing is proposed).
    """

    particles: Float[Array, "particles 2"]
    memory: tuple[Float[Array, "particles 2"], Int[Array, ""]]
    steps: Int[Array, ""]
    accepted: Float[Array, ""]


def start(count: int, box: tuple[tuple[float, float], tuple[float, float]], *, key: PRNGKeyArray) -> Walk:
    """Return `count` particles around the middle of the left half of `box`, ((x low, x high), (y low, y high))."""
    (left, right), (below, above) = box
    centre = jnp.array([left + 0.3 * (right - left), 0.5 * (below + above)])
    spread = 0.08 * jnp.array([right - left, above - below])
    particles = centre[None] + spread[None] * jax.random.normal(key, (count, 2))
    zero = jnp.zeros((), jnp.int32)
    return Walk(particles, (jnp.zeros_like(particles), zero), zero, jnp.ones(()))


class Move(NamedTuple):
    """A kind of step.

    - `title`: what the page calls it.
    - `step`: takes (log density, walk, step size, key) and returns the walk after one step.
    - `sizes`: the smallest, the usual and the largest step size.
    - `blackjax`: whether it needs blackjax.
    """

    title: str
    step: Callable[[LogDensity, Walk, Array, PRNGKeyArray], Walk]
    sizes: tuple[float, float, float]
    blackjax: bool = False


def _scores(density: LogDensity, walk: Walk) -> Array:
    return jax.vmap(jax.grad(density))(walk.particles)


def _moved(walk: Walk, particles: Array, memory: tuple | None = None, accepted: Array | float = 1.0) -> Walk:
    sound = (jnp.abs(particles) < _FARTHEST).all(-1, keepdims=True)
    particles = jnp.where(sound, particles, walk.particles)
    return Walk(particles, walk.memory if memory is None else memory, walk.steps + 1, jnp.asarray(accepted, particles.dtype))


def ascent(density: LogDensity, walk: Walk, size: Array, key: PRNGKeyArray) -> Walk:
    """Plain gradient ascent of log `density`: each particle of `walk` climbs to a mode, by steps of `size`.

    `key` is not used.
    """
    del key
    return _moved(walk, walk.particles + size * _scores(density, walk))


def langevin(density: LogDensity, walk: Walk, size: Array, key: PRNGKeyArray) -> Walk:
    """Unadjusted Langevin: steps of `size` uphill in log `density`, and noise of variance 2 `size` drawn with `key`.

    The particles of `walk` sample a density that is off by O(size). Roberts and Tweedie (1996),
    https://doi.org/10.2307/3318418.
    """
    noise = jnp.sqrt(2 * size) * jax.random.normal(key, walk.particles.shape)
    return _moved(walk, walk.particles + size * _scores(density, walk) + noise)


def svgd(density: LogDensity, walk: Walk, size: Array, key: PRNGKeyArray) -> Walk:
    """Stein variational gradient descent towards `density`, with the step rule of Liu and Wang and steps of `size`.

    The particles of `walk` repel each other. Liu and Wang (2016), https://arxiv.org/abs/1608.04471. `key` is not used.
    """
    phi = Stein(RBF())(walk.particles, _scores(density, walk), key=key)
    rule: Any = liu_wang_rule(size)
    updates, memory = rule.update(-phi, walk.memory)
    return _moved(walk, walk.particles + updates, memory)


def hmc(density: LogDensity, walk: Walk, size: Array, key: PRNGKeyArray) -> Walk:
    """Hamiltonian Monte Carlo on `density`, ten leapfrog steps of `size` each: every particle of `walk` is a chain.

    Neal (2011), https://arxiv.org/abs/1206.1901. `key` is the source of momenta.
    """
    import blackjax

    return _chain_step(blackjax.hmc(density, size, jnp.ones(2), _LEAPFROGS), walk, key)


def nuts(density: LogDensity, walk: Walk, size: Array, key: PRNGKeyArray) -> Walk:
    """The no-U-turn sampler on `density` with leapfrog steps of `size`: every particle of `walk` is a chain.

    Hoffman and Gelman (2014), https://arxiv.org/abs/1111.4246. `key` is the source of momenta.
    """
    import blackjax

    return _chain_step(blackjax.nuts(density, size, jnp.ones(2), max_num_doublings=_DOUBLINGS), walk, key)


def _chain_step(sampler, walk: Walk, key: PRNGKeyArray) -> Walk:
    def one(position: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        state, info = sampler.step(key, sampler.init(position))
        return state.position, info.acceptance_rate

    particles, accepted = jax.vmap(one)(walk.particles, jax.random.split(key, len(walk.particles)))
    return _moved(walk, particles, accepted=accepted.mean())


MOVES: dict[str, Move] = {
    "svgd": Move("SVGD", svgd, (0.01, 0.1, 1.0)),
    "langevin": Move("Langevin", langevin, (0.001, 0.05, 0.5)),
    "hmc": Move("HMC", hmc, (0.01, 0.15, 1.0), blackjax=True),
    "nuts": Move("NUTS", nuts, (0.01, 0.3, 1.5), blackjax=True),
    "ascent": Move("gradient ascent", ascent, (0.001, 0.05, 0.5)),
}


def check_installed(name: str) -> None:
    """Check that what the move called `name` needs is installed.

    Raises: InputError if it is not.
    """
    if MOVES[name].blackjax:
        try:
            import blackjax  # noqa: F401
        except ImportError as error:
            raise InputError(
                f"{MOVES[name].title} needs blackjax, which is not installed: pip install 'bmaml[mcmc]'."
            ) from error


def advance(name: str, which: int, drawn: Drawing, walk: Walk, size: float, count: int, *, key: PRNGKeyArray) -> Walk:
    """Return `walk` after `count` steps of the move called `name`.

    - `which`: number of the density in `DENSITIES`.
    - `drawn`: the drawing, for the density that a user draws.
    - `size`: step size.

    Raises: InputError if what the move needs is not installed.
    """
    check_installed(name)
    # The code of blackjax mixes whole numbers and floats, which JAX can be set to refuse.
    with jax.numpy_dtype_promotion("standard"):
        return _advance(name, jnp.asarray(which), drawn, walk, jnp.asarray(size, jnp.float32), jnp.asarray(count), key)


@eqx.filter_jit
def _advance(name: str, which: Array, drawn: Drawing, walk: Walk, size: Array, count: Array, key: PRNGKeyArray) -> Walk:
    def density(x: Array) -> Array:
        return log_density(which, x, drawn)

    def step(i: Array, walk: Walk) -> Walk:
        return MOVES[name].step(density, walk, size, jax.random.fold_in(key, i))

    return jax.lax.fori_loop(0, count, step, walk)
