"""Markov chains as the reference: draws from a log density, or from a task's posterior, by NUTS and HMC.

blackjax (the extra `mcmc`) does the sampling. It is imported when a chain runs.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.inference.posteriors import ParticlePosterior
from bmaml.inference.priors import AbstractPrior, AroundInit, Particle
from bmaml.learners.gradient import GradientLearner
from bmaml.models.base import AbstractModel

LogDensity = Callable[[Any], Float[Array, ""]]


class Chains(eqx.Module):
    """Draws of several chains after warm-up, and how the chains went.

    - `draws`: leaves have leading axes (chains, draws).
    - `log_density`: log density of each draw, in nats.
    - `divergent`: trajectories whose energy diverged. A few in a thousand hint at a region that the chains did not enter, and
      more show it.
    - `acceptance`: mean acceptance rate of each chain.
    - `step_size`: adapted step size of each chain.
    - `gradients`: number of gradients after warm-up.
    """

    draws: PyTree[Any]
    log_density: Float[Array, "chains draws"]
    divergent: Bool[Array, "chains draws"]
    acceptance: Float[Array, " chains"]
    step_size: Float[Array, " chains"]
    gradients: Int[Array, ""]

    @property
    def divergences(self) -> int:
        """Number of divergent trajectories of all chains."""
        return int(self.divergent.sum())

    def pooled(self, every: int = 1) -> PyTree[Any]:
        """Return the draws of all chains on one leading axis, taking each `every`-th draw of a chain."""
        return jax.tree.map(lambda leaf: leaf[:, ::every].reshape(-1, *leaf.shape[2:]), self.draws)


def nuts(
    log_density: LogDensity,
    starts: PyTree,
    *,
    warmup: int = 1000,
    draws: int = 1000,
    acceptance: float = 0.8,
    dense: bool = False,
    key: PRNGKeyArray,
) -> Chains:
    """Draw from a density with the no-U-turn sampler: one chain for each start, all in one vmapped program.

    From Hoffman and Gelman (2014), https://arxiv.org/abs/1111.4246; the windows are Stan's.

    - `log_density`: takes a position and returns a scalar in nats, up to a constant.
    - `starts`: a pytree with the chain axis first, best spread wider than the target.
    - `warmup`: steps of window adaptation of step size and mass matrix.
    - `draws`: draws of each chain.
    - `acceptance`: target acceptance rate.
    - `dense`: whether the mass matrix is dense instead of diagonal.

    Raises: InputError if blackjax is not installed, or for fewer than 20 warm-up steps or 4 draws.
    """
    blackjax = _blackjax()
    return _chains(blackjax, blackjax.nuts, log_density, starts, warmup, draws, acceptance, dense, {}, key)


def hmc(
    log_density: LogDensity,
    starts: PyTree,
    *,
    leapfrogs: int = 16,
    warmup: int = 1000,
    draws: int = 1000,
    acceptance: float = 0.8,
    dense: bool = False,
    key: PRNGKeyArray,
) -> Chains:
    """Draw from a density with Hamiltonian Monte Carlo of `leapfrogs` steps a trajectory.

    From Neal (2011), https://arxiv.org/abs/1206.1901. `log_density`, `starts`, `warmup`, `draws`, `acceptance` and `dense` are
    as in `nuts`.
    Raises: InputError in the cases of `nuts`, and for fewer than one leapfrog step.
    """
    if leapfrogs < 1:
        raise InputError(f"a trajectory has {leapfrogs} leapfrog steps: give at least 1.")
    blackjax, options = _blackjax(), {"num_integration_steps": leapfrogs}
    return _chains(blackjax, blackjax.hmc, log_density, starts, warmup, draws, acceptance, dense, options, key)


def _blackjax() -> ModuleType:
    try:
        import blackjax
    except ImportError as error:
        raise InputError("NUTS and HMC need blackjax, which is not installed: pip install 'bmaml[mcmc]'.") from error
    return blackjax


def _chains(
    blackjax: Any,
    algorithm: Any,
    log_density: LogDensity,
    starts: PyTree,
    warmup: int,
    draws: int,
    acceptance: float,
    dense: bool,
    options: dict[str, Any],
    key: PRNGKeyArray,
) -> Chains:
    if warmup < 20 or draws < 4:
        raise InputError(f"{warmup} warm-up steps and {draws} draws: give at least 20 and at least 4.")
    adaptation = blackjax.window_adaptation(
        algorithm, log_density, is_mass_matrix_diagonal=not dense, target_acceptance_rate=acceptance, **options
    )

    def chain(key: PRNGKeyArray, start: PyTree) -> tuple:
        warm_key, draw_key = jax.random.split(key)
        (state, tuned), _ = adaptation.run(warm_key, start, num_steps=warmup)
        step = algorithm(log_density, **tuned).step

        def sample_step(state: Any, key: PRNGKeyArray) -> tuple:
            state, info = step(key, state)
            kept = state.position, state.logdensity, info.is_divergent
            return state, (*kept, info.acceptance_rate, info.num_integration_steps)

        return tuned["step_size"], jax.lax.scan(sample_step, state, jax.random.split(draw_key, draws))[1]

    count = len(jax.tree.leaves(starts)[0])
    # The code of blackjax mixes whole numbers and floats, which JAX can be set to refuse.
    with jax.numpy_dtype_promotion("standard"):
        step_size, found = jax.jit(jax.vmap(chain))(jax.random.split(key, count), starts)
    position, log_p, divergent, accepted, leapfrogs = found
    return Chains(position, log_p, divergent, accepted.mean(1), step_size, jnp.sum(leapfrogs))


class Convergence(eqx.Module):
    """Diagnostics of some quantities, in their shape: split R-hat (`r_hat`) and the effective number of draws (`ess`)."""

    r_hat: Float[Array, "*quantities"]
    ess: Float[Array, "*quantities"]


def convergence(values: Float[Array, "chains draws *rest"]) -> Convergence:
    """Return split R-hat and effective sample size of quantities along the chains.

    `values` holds the quantities. Each chain is cut into halves first, so that a drift within a chain shows. From Gelman et al.
    (2013), section 11.4.
    Raises: InputError if blackjax is not installed, or for fewer than 4 draws.
    """
    chains, draws = values.shape[:2]
    if draws < 4:
        raise InputError(f"{draws} draws of a chain cannot be cut in halves with a variance: give at least 4.")
    half = draws // 2
    return _diagnosed(values[:, : 2 * half].reshape(2 * chains, half, *values.shape[2:]))


@jax.jit
def _diagnosed(chains: Float[Array, "chains draws *rest"]) -> Convergence:
    diagnostics = _blackjax().diagnostics
    ess = diagnostics.effective_sample_size(chains)
    return Convergence(jnp.asarray(diagnostics.potential_scale_reduction(chains)), jnp.asarray(ess))


def log_posterior(model: AbstractModel, prior: AbstractPrior, support: Data, anchor: Particle | None = None) -> LogDensity:
    """Return the function from a particle to its log posterior density on a task: log prior plus summed log-likelihood.

    The density is in nats, up to a constant.

    - `model`, `prior`: likelihood and prior.
    - `support`: the data.
    - `anchor`: the start of adaptation, which only a prior around it needs.

    Raises: InputError if the prior needs an anchor and there is none.
    """
    if anchor is None and isinstance(prior, AroundInit):
        raise InputError(
            "AroundInit is a prior around where adaptation starts, and there is no anchor: give one, or GaussianPrior."
        )
    climbed = GradientLearner(model, prior).log_posterior
    return lambda particle: climbed(particle, particle if anchor is None else anchor, support)


def starts(model: AbstractModel, prior: AbstractPrior, count: int, *, key: PRNGKeyArray) -> Particle:
    """Return `count` fresh particles of `model` and `prior`, parameters and hyper-parameters, on a leading axis."""
    return GradientLearner(model, prior, particles=count).init(key).particles


def task_posterior(
    model: AbstractModel,
    prior: AbstractPrior,
    support: Data,
    *,
    anchor: Particle | None = None,
    chains: int = 4,
    key: PRNGKeyArray,
    **options: Any,
) -> tuple[ParticlePosterior, Chains]:
    """Return a task's posterior by NUTS as equally weighted particles, and the chains.

    Chains start from fresh parameters of the model. The parameters of a network are not identified (hidden units can swap
    places), so judge convergence on predictions, with `followed`.

    - `model`, `prior`, `support`, `anchor`: as in `log_posterior`.
    - `chains`: number of chains.
    - `options`: passed on to `nuts`.

    Raises: InputError in the cases of `nuts` and `log_posterior`.
    """
    start_key, draw_key = jax.random.split(key)
    density = log_posterior(model, prior, support, anchor)
    run = nuts(density, starts(model, prior, chains, key=start_key), key=draw_key, **options)
    params = run.pooled().params
    return ParticlePosterior(model, params, jnp.zeros(run.log_density.size)), run


@eqx.filter_jit
def followed(model: AbstractModel, chains: Chains, x: Float[Array, "n inputs"]) -> Float[Array, "chains draws n outputs"]:
    """Return the predictive mean of `model` at inputs `x` for every draw of every one of `chains`."""
    return jax.vmap(jax.vmap(lambda params: model.predictive(params, x).mean))(chains.draws.params)
