"""Families of environments and methods for policies by name, with tuned settings: what the command line trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from bmaml.errors import InputError, said
from bmaml.methods import Tuned, choose
from bmaml.methods.made_of import Offer
from bmaml.models import MLP, AbstractModel, CategoricalModel, GaussianPolicy
from bmaml.models.network import Activation
from bmaml.rl.advantages import Advantages
from bmaml.rl.environment import AbstractWorld
from bmaml.rl.method import PolicyMethod
from bmaml.rl.navigation import Navigation
from bmaml.rl.outer_steps import ClippedSteps, GradientStep
from bmaml.rl.sampling import Sampling
from bmaml.rl.simulators import BraxLocomotion, MujocoLocomotion
from bmaml.rl.trust_region import TrustRegion
from bmaml.rows import Rows, pick
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan


@dataclasses.dataclass(frozen=True)
class WorldSpec:
    """A row of the table of families of environments: how to make them, and the policy, rates and sizes to train it with.

    - `name`: in lower case with hyphens, as it is typed.
    - `build`: a world's class or a function that makes a world; it takes `horizon=`, the steps after which an episode ends.
    - `hidden`, `activation`: the policy's hidden layers.
    - `episodes`: trajectories that a particle gathers for a gradient.
    - `batch`, `steps`: tasks in a meta-batch, and meta-steps.
    - `inner_learning_rate`: the step size of an update.
    - `std`: the deviation that continuous actions start with.
    - `head_scale`: what the head's first weights are multiplied by.
    - `trace`: that of the advantages.
    - `fine_tuning`: the step size of a policy that was trained without adaptation (None: `inner_learning_rate`). Such a policy
      has grown so sure of itself that a step of `inner_learning_rate` may throw it off.
    """

    name: str
    build: Callable[..., AbstractWorld]
    hidden: tuple[int, ...] = (100, 100)
    activation: Activation = "relu"
    episodes: int = 20
    batch: int = 40
    steps: int = 100
    inner_learning_rate: float = 0.1
    std: float = 1.0
    head_scale: float = 1.0
    trace: float = 1.0
    fine_tuning: float | None = None

    @property
    def made_by(self) -> Callable[..., AbstractWorld]:
        """The class or function that makes the environments."""
        return self.build


def _plane(name: str, *reward: str, discrete: bool = False) -> WorldSpec:
    """The navigation of Finn et al. (2017), with the inner rate of their code (the paper says 0.1).

    With a head of zeros a policy starts by exploring around the origin. With random heads, one of three seeds drifted away.
    MAML's return then stayed at -14 after an update for all of 100 meta-steps. With zeros the same seed had -2.5 after 50.

    Fine-tuning rates for a pretrained policy, with squared distances after three updates: 0.03 gives -6.0, -3.0 and -1.3. 0.1
    gives -6.9, -2.5 and -3.0. 0.01 gives -12.4, -10.5 and -8.7. The inner rate gives less than -2,000.
    """
    build = partial(Navigation, *reward, discrete=discrete)
    return WorldSpec(name, build, inner_learning_rate=0.5, head_scale=0.0, fine_tuning=0.03)


def _bodies(world: Callable[..., AbstractWorld], prefix: str = "") -> list[WorldSpec]:
    """The locomotion families of Finn et al. (2017), section 5.3. An ant's direction needs 40 trajectories.

    With this policy, rate and trace a half-cheetah learned its direction on two cores. With Meta-SGD an update adds 140 to 290
    after 2.4 million steps. With MAML at the paper's rate of 0.1 and advantages of whole returns, an update added at most 35,
    after 1.2 million.
    """
    kinds = [(body, task) for body in ("half-cheetah", "ant") for task in ("direction", "velocity")]
    return [
        WorldSpec(
            f"{prefix}{body}-{task}",
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
    ]


def as_world(name: str, found: Any) -> WorldSpec:
    """Return a row called `name` for what a plug-in or a path leads to (`found`): a row, a world, or what makes a world.

    Raises: InputError for anything else.
    """
    if isinstance(found, WorldSpec):
        return dataclasses.replace(found, name=name) if ":" in name else found
    if isinstance(found, AbstractWorld):
        return WorldSpec(name, lambda: found)
    if not callable(found):
        raise InputError(f"{name} is {said(found)}, and no environment: give an AbstractWorld, or a function that returns one.")
    build: Any = found
    return WorldSpec(name, build)


_ROWS = (
    _plane("navigation"),
    _plane("navigation-distance", "distance"),
    _plane("navigation-sparse", "sparse"),
    _plane("navigation-discrete", "squared", discrete=True),
    # Each of these needs an extra, `mujoco` or `brax`. The error names the extra that is missing.
    *_bodies(MujocoLocomotion),
    *_bodies(BraxLocomotion, "brax-"),
)
WORLDS: Rows[WorldSpec] = Rows("family of environments", "bmaml.worlds", as_world, _ROWS)
"""Every family of environments in which a policy acts."""
OUTER = {"trust-region": TrustRegion, "clipped": ClippedSteps, "gradient": GradientStep}
SURROGATES = ("sum", "ratio", "dice")
# Methods that follow a gradient move by this rate. For methods with a trust region, the region's limit is the rate.
_OUTER_RATE = 1e-3


def build_world(family: str, **settings: Any) -> AbstractWorld:
    """Return the environments of a `family`, changed by those of `settings` that are not None.

    Raises: InputError for an unknown family.
    """
    chosen = {k: v for k, v in settings.items() if v is not None}
    return WORLDS.find(family).build(**chosen)


def build_policy(family: str, world: AbstractWorld) -> AbstractModel:
    """Return the policy of a `family`, for the observations and actions of a `world`."""
    world_row = WORLDS.find(family)
    network = MLP((world.observations, *world_row.hidden, world.actions), world_row.activation, head_scale=world_row.head_scale)
    return CategoricalModel(network) if world.discrete else GaussianPolicy(network, world.actions, std=world_row.std)


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
    """Return a method for a family with the tuned settings of both.

    - `name`: the method.
    - `family`: the family of environments.
    - `world`: its environments.
    - `trajectories`: trajectories that a particle gathers for a gradient.
    - `outer`: name of the outer step.
    - `fisher_episodes`: see `TrustRegion`.
    - `settings`: further settings of the method. None keeps the tuned value.

    Raises: InputError for an unknown name, or a setting that the method does not have.
    """
    row, world_row = choose(name, "policies"), WORLDS.find(family)
    chosen: dict[str, Any] = {k: v for k, v in settings.items() if v is not None}
    if outer is not None:
        chosen["outer"] = pick("outer step", outer, OUTER)()
    if fisher_episodes is not None:
        chosen["outer"] = dataclasses.replace(_trust_region(chosen), fisher_episodes=fisher_episodes)
    if "surrogate" in chosen:
        pick("surrogate", chosen["surrogate"], dict.fromkeys(SURROGATES))
    rate = world_row.fine_tuning if row.fine_tuned and world_row.fine_tuning else world_row.inner_learning_rate
    sampling = Sampling(trajectories or world_row.episodes, Advantages(trace=world_row.trace))
    offer = Offer(
        world.observations,
        world.actions,
        lambda _: build_policy(family, world),
        settings={"inner_learning_rate": rate, "sampling": sampling},
    )
    method = row.build(offer, Tuned(), **chosen)
    if isinstance(method, PolicyMethod):
        return method
    raise InputError(f"method {name!r} is no PolicyMethod: use a method for policies.")


def _trust_region(chosen: dict[str, Any]) -> TrustRegion:
    step = chosen.get("outer", TrustRegion())
    if isinstance(step, TrustRegion):
        return step
    raise InputError("episodes for the Fisher products need a trust region: use --outer trust-region, or leave them out.")


def build_policy_plan(
    family: str, *, steps: int | None = None, batch: int | None = None, seed: int = 0, learning_rate: float | None = None
) -> Plan:
    """Return how long to train on a family, and with which optimiser if the method follows a gradient.

    A reward that is not a number stops a run at once.

    - `family`: the family of environments.
    - `steps`, `batch`, `learning_rate`: meta-steps, tasks in a meta-batch and outer rate; None takes the family's.
    """
    world_row = WORLDS.find(family)
    outer = Adam(learning_rate or _OUTER_RATE, decay="none")
    return Plan(steps or world_row.steps, batch or world_row.batch, outer, seed, skip_limit=0)
