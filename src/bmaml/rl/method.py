"""A method for policies: the two axes, how trajectories are gathered, and how they improve the meta-parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import stages
from jaxtyping import Array, PRNGKeyArray

from bmaml.data import Task
from bmaml.errors import InputError
from bmaml.io.registry import register
from bmaml.learners.base import AbstractPolicyLearner, Meta
from bmaml.objectives.base import AbstractContinuingObjective, Metrics
from bmaml.objectives.policy import policies
from bmaml.rl.adapted_policy import AdaptedPolicy
from bmaml.rl.environment import AbstractWorld, check_policy
from bmaml.rl.outer_steps import AbstractOuterStep, GradientStep
from bmaml.rl.sampling import Collected, Sampling, collect, inner_step, no_rows
from bmaml.rl.trajectories import Trajectories
from bmaml.tasks.base import AbstractSource
from bmaml.training.meta_step import LONGEST, MetaBatch, as_row, by_name, first_state, fresh_meta, settle, step_key
from bmaml.training.method import AbstractMethod, Chunk, TrainState, check_parts
from bmaml.training.plan import Plan
from bmaml.training.reuse import program_of


@register("policy/method")
class PolicyMethod(AbstractMethod[Trajectories | Sequence[Trajectories], AdaptedPolicy]):
    """A learner and an objective for policies, with sampling and an outer step.

    A meta-step draws goals. Every particle gathers trajectories in each task and adapts to them. The adapted policies gather
    again, and `step` moves the meta-parameters. The loss that a run reports is minus the mean return of the adapted policies.

    - `sampling`: how trajectories are gathered and weighted.
    - `step`: the outer step.

    Raises: PairError or InputError, with the reason and what to use instead, if the parts do not fit.
    """

    SIZES: ClassVar[tuple[str, ...]] = ("trajectories", "particles", "inner steps")

    sampling: Sampling = Sampling()
    step: AbstractOuterStep = GradientStep()

    def __check_init__(self):
        check_parts(self.learner, self.objective, "PolicyMethod")
        policies(self.learner, "PolicyMethod")
        self.objective.check(self.learner)
        self.step.check(self.learner, self.objective)

    @property
    def policies(self) -> AbstractPolicyLearner[Any]:
        """The learner, in the type that `check` requires."""
        return policies(self.learner, "PolicyMethod")

    @property
    def answerer(self):
        return self.learner

    def begin(self, plan):
        meta = fresh_meta(self, plan)
        return first_state(meta, self.step.start(plan, meta), places=4)

    def check(self, source):
        if not isinstance(source, AbstractWorld):
            raise InputError(
                f"a policy cannot be trained on {type(source).__name__}, whose tasks are given points: use an environment."
            )
        if jax.process_count() > 1:
            raise InputError("policies train in one process, since their environments are not spread over several: start one.")
        check_policy(source, self.policies.model)

    def compile(self, plan, source, state):
        assert isinstance(source, AbstractWorld)  # `check` makes sure of this
        if not source.pure:
            return _hosted(self, plan)
        seed, count = np.asarray(plan.seed, np.uint32), np.zeros((), np.int32)
        return program_of(_build_chunk, self, plan, source).lower(state, source, seed, count).compile()

    def explain(self, bad, skipped):
        step, task, episode, moment = (int(v) for v in bad)
        if episode >= 0:
            return (
                f"the environment's reward was not a number at step {moment} of episode {episode} in task {task} of meta-step "
                f"{step}: give it one that always is."
            )
        return (
            f"{skipped} meta-steps were not finite, the last at step {step}: lower the inner rate, or set clip on the learner."
        )

    def adapt(self, meta, given, *, key):
        """Return the policy after one inner step on each of the trajectories in `given` (`Trajectories` or a sequence of them).

        Each has axes (particles, episodes, horizon). A single particle may leave out its axis.
        Raises: InputError for other things than trajectories, or for another number of particles than the policy has.
        """
        sets = [given] if isinstance(given, Trajectories) else list(given) if isinstance(given, Sequence) else [given]
        other = next((lived for lived in sets if not isinstance(lived, Trajectories)), None)
        if other is not None:
            raise InputError(f"a policy was given a {type(other).__name__}: give Trajectories, or a list of them (or none).")
        learner = self.policies
        state = learner.start(meta, no_rows(), key=key)
        for i, lived in enumerate(sets):
            own = _by_particle(lived, learner.particles)
            state = _update(learner, self.sampling, meta, state, own, jax.random.fold_in(key, i))
        return AdaptedPolicy(learner.finish(meta, state, no_rows(), key=key))

    def collect(self, plan: Plan, world: AbstractWorld, meta: Meta, key: PRNGKeyArray) -> tuple[MetaBatch, Collected]:
        """Return the tasks of one meta-step in the form that the objective takes, and everything that was gathered in them.

        `plan` says how many tasks there are, and `world` holds the environments.
        """
        goal_key, act_key, adapt_key = jax.random.split(key, 3)
        updates, goals = self.policies.steps, world.goals(goal_key, plan.batch)
        # A leader of several steps continues with sets that were gathered on the way.
        further = max(self.objective.steps, 1) if isinstance(self.objective, AbstractContinuingObjective) else 1
        found = collect(world, self.policies, self.sampling, meta, goals, updates + further - 1, key=act_key)
        by_task = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), found.sets)
        support, query = (jax.tree.map(lambda leaf, part=part: leaf[:, part], by_task) for part in _parts(updates))
        return MetaBatch(Task(support, query), jax.random.split(adapt_key, plan.batch)), found

    def improve(self, plan: Plan, state: TrainState, batch: MetaBatch, found: Collected) -> tuple[TrainState, Metrics]:
        """Return the state after one meta-step, and the loss of this meta-step.

        - `plan`: the outer optimiser.
        - `state`: the state before.
        - `batch`: the tasks, as the objective takes them.
        - `found`: everything that was gathered in them.
        """
        meta, optimiser, good = self.step(self, plan, state.meta, state.optimiser, batch)
        before, after = found.returns[0].mean(), found.returns[self.policies.steps].mean()
        moved = settle(state, meta, optimiser, good & jnp.isfinite(after), found.bad)
        return moved, {"loss": -after, "skipped": moved.skipped, "return_before": before, "return_after": after}


@eqx.filter_jit
def _update(
    learner: AbstractPolicyLearner[Any], sampling: Sampling, meta: Meta, state: Any, lived: Trajectories, key: PRNGKeyArray
) -> Any:
    """Return the state after one inner step on what each particle gathered."""
    support = jax.vmap(sampling.advantages.data)(lived)
    return inner_step(learner, meta, state, support, key)


def _parts(updates: int) -> tuple[slice, slice]:
    return slice(0, updates), slice(updates, None)


def _by_particle(lived: Trajectories, particles: int) -> Trajectories:
    if lived.rewards.ndim == 2 and particles == 1:
        lived = jax.tree.map(lambda leaf: leaf[None], lived)
    if lived.rewards.ndim != 3 or len(lived.rewards) != particles:
        raise InputError(
            f"trajectories of shape {lived.rewards.shape} for {particles} particles: give (particles, episodes, horizon), "
            "what each particle gathered itself."
        )
    return lived


_NUMBERS = ("loss", "skipped", "return_before", "return_after")


def _build_chunk(method: PolicyMethod, plan: Plan, options: dict[str, str | bool]) -> stages.Wrapped:
    """Return the function that runs chunks of whole meta-steps in one program, for which the compiler is told `options`."""

    def chunk(state: TrainState, world: AbstractSource, seed: Array, count: Array) -> tuple[TrainState, Metrics]:
        assert isinstance(world, AbstractWorld)  # `check` makes sure of this
        begin = state.step

        def step_and_log(step: Array, carry: tuple[TrainState, Array]) -> tuple[TrainState, Array]:
            state, log = carry
            state, numbers = method.improve(plan, state, *method.collect(plan, world, state.meta, step_key(seed, step)))
            return state, log.at[step - begin].set(as_row(_NUMBERS, numbers))

        state, log = jax.lax.fori_loop(begin, begin + count, step_and_log, (state, jnp.zeros((LONGEST, len(_NUMBERS)))))
        return state, by_name(_NUMBERS, log)

    return jax.jit(chunk, donate_argnums=0, compiler_options=options)


def _hosted(method: PolicyMethod, plan: Plan) -> Chunk:
    """Return the same for environments on the host: a loop over meta-steps, in which everything but the rollouts is
    compiled.
    """
    improve = eqx.filter_jit(method.improve)

    def chunk(state: TrainState, world: Any, seed: Any, count: Any) -> tuple[TrainState, Metrics]:
        rows: list[Metrics] = []
        for step in range(int(state.step), int(state.step) + int(count)):
            key = step_key(jnp.asarray(seed), jnp.asarray(step, jnp.int32))
            batch, found = method.collect(plan, world, state.meta, key)
            state, numbers = improve(plan, state, batch, found)
            rows.append(numbers)
        return state, {name: jnp.stack([row[name] for row in rows]) for name in _NUMBERS}

    return chunk
