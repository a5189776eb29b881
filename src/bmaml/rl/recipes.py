"""Families of environments and methods for policies by name, with settings that work: what the command line trains."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx

from bmaml.errors import InputError
from bmaml.models import MLP, AbstractModel, CategoricalModel, GaussianPolicy
from bmaml.models.network import Activation
from bmaml.recipes.lookup import check_settings, pick
from bmaml.rl.advantages import Advantages
from bmaml.rl.environment import AbstractWorld
from bmaml.rl.method import PolicyMethod
from bmaml.rl.navigation import Navigation
from bmaml.rl.outer_steps import ClippedSteps, GradientStep
from bmaml.rl.presets import POLICY_METHODS
from bmaml.rl.sampling import Sampling
from bmaml.rl.simulators import BraxLocomotion, MujocoLocomotion
from bmaml.rl.trust_region import TrustRegion
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan


class ControlFamily(eqx.Module):
    """A family of environments: how to make it, and the policy, rate and sizes to train it with.

    `std` is the deviation that continuous actions start with, `head_scale` what the head's first weights are multiplied by,
    `trace` that of the advantages. A pretrained policy is fine-tuned by `fine_tuning` (None: by
    `inner_learning_rate`): it has grown so sure of itself that a step of `inner_learning_rate` may throw it off.
    """

    build: Callable[..., AbstractWorld] = eqx.field(static=True)
    hidden: tuple[int, ...] = eqx.field(static=True, default=(100, 100))
    activation: Activation = eqx.field(static=True, default="relu")
    episodes: int = eqx.field(static=True, default=20)
    batch: int = eqx.field(static=True, default=40)
    steps: int = eqx.field(static=True, default=100)
    inner_learning_rate: float = eqx.field(static=True, default=0.1)
    std: float = eqx.field(static=True, default=1.0)
    head_scale: float = eqx.field(static=True, default=1.0)
    trace: float = eqx.field(static=True, default=1.0)
    fine_tuning: float | None = eqx.field(static=True, default=None)


def _plane(*reward: str, discrete: bool = False) -> ControlFamily:
    """The navigation of Finn et al. (2017), by the inner rate of their code (the paper says 0.1).

    With a head of zeros a policy starts by exploring around the origin. One of three seeds with random heads drifted off from
    there, and MAML's return stayed at -14 after an update for all of 100 meta-steps; by the same seed zeros had -2.5 after 50.

    Fine-tuning at 0.03 brings a pretrained policy to -6.0, -3.0 and -1.3 of squared distance in three updates; 0.1 to -6.9,
    -2.5 and -3.0, 0.01 to -12.4, -10.5 and -8.7, and the inner rate below -2,000.
    """
    return ControlFamily(
        partial(Navigation, *reward, discrete=discrete), inner_learning_rate=0.5, head_scale=0.0, fine_tuning=0.03
    )


CONTROL: dict[str, ControlFamily] = {
    "navigation": _plane(),
    "navigation-distance": _plane("distance"),
    "navigation-sparse": _plane("sparse"),
    "navigation-discrete": _plane("squared", discrete=True),
}


def _bodies(world: Callable[..., AbstractWorld], prefix: str = "") -> dict[str, ControlFamily]:
    """The locomotion families of Finn et al. (2017), section 5.3, which gather 40 trajectories for an ant's direction.

    Policy, rate and trace are what a half-cheetah learned its direction with on two cores: with Meta-SGD an update brings it
    140 to 290 after 2.4 million steps. With MAML at the paper's rate of 0.1 and advantages of whole returns it brought 35 at
    most, after 1.2 million.
    """
    kinds = [(body, task) for body in ("half-cheetah", "ant") for task in ("direction", "velocity")]
    return {
        f"{prefix}{body}-{task}": ControlFamily(
            partial(world, body, task),
            hidden=(64, 64),
            activation="tanh",
            episodes=40 if (body, task) == ("ant", "direction") else 20,
            steps=500,
            inner_learning_rate=0.5,
            std=0.6,
            trace=0.97,
        )
        for body, task in kinds
    }


# Each needs an extra, named where it is missing: `mujoco`, or `brax`.
CONTROL |= _bodies(MujocoLocomotion) | _bodies(BraxLocomotion, "brax-")
OUTER = {"trust-region": TrustRegion, "clipped": ClippedSteps, "gradient": GradientStep}
SURROGATES = ("sum", "ratio", "dice")
# Methods that follow a gradient move by a rate, and those of a trust region do not: its limit is their rate.
_OUTER_RATE = 1e-3


def build_world(family: str, **settings: Any) -> AbstractWorld:
    """Return a family's environments, changed by those of `settings` that are not None.

    Raises: InputError for an unknown family.
    """
    chosen = {k: v for k, v in settings.items() if v is not None}
    return pick("family of environments", family, CONTROL).build(**chosen)


def build_policy(family: str, world: AbstractWorld) -> AbstractModel:
    """Return the policy of a family, for the observations and actions of a world."""
    home = pick("family of environments", family, CONTROL)
    network = MLP((world.observations, *home.hidden, world.actions), home.activation, head_scale=home.head_scale)
    return CategoricalModel(network) if world.discrete else GaussianPolicy(network, world.actions, std=home.std)


def build_policy_method(
    name: str,
    family: str,
    world: AbstractWorld,
    *,
    trajectories: int | None = None,
    outer: str | None = None,
    fisher_episodes: int | None = None,
    **settings: Any,
) -> PolicyMethod:
    """Return a method for a family with the settings of both, changed by those of `settings` that are not None.

    Raises: InputError for an unknown name or a setting that the method does not have.
    """
    make, home = pick("method for policies", name, POLICY_METHODS), pick("family of environments", family, CONTROL)
    chosen: dict[str, Any] = {k: v for k, v in settings.items() if v is not None}
    if outer is not None:
        chosen["outer"] = pick("outer step", outer, OUTER)()
    if fisher_episodes is not None:
        chosen["outer"] = dataclasses.replace(_trust_region(chosen), fisher_episodes=fisher_episodes)
    if "surrogate" in chosen:
        pick("surrogate", chosen["surrogate"], dict.fromkeys(SURROGATES))
    check_settings(name, chosen, inspect.signature(make).parameters)
    sampling = Sampling(trajectories or home.episodes, Advantages(trace=home.trace))
    inner_learning_rate = home.fine_tuning if name == "pretrain" and home.fine_tuning else home.inner_learning_rate
    return make(build_policy(family, world), **{"inner_learning_rate": inner_learning_rate, "sampling": sampling, **chosen})


def _trust_region(chosen: dict[str, Any]) -> TrustRegion:
    step = chosen.get("outer", TrustRegion())
    if isinstance(step, TrustRegion):
        return step
    raise InputError("episodes for the Fisher products need a trust region: use --outer trust-region, or leave them out.")


def build_policy_plan(
    family: str, *, steps: int | None = None, batch: int | None = None, seed: int = 0, outer_rate: float | None = None
) -> Plan:
    """Return how long to train on a family, and by what optimiser where a method follows a gradient.

    A reward that is not a number stops a run at once.
    """
    home = pick("family of environments", family, CONTROL)
    outer = Adam(outer_rate or _OUTER_RATE, decay="none")
    return Plan(steps or home.steps, batch or home.batch, outer, seed, skip_limit=0)
