"""Masses of a learner's prior, found from the evidence of training tasks once the meta-steps are over."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PRNGKeyArray

from bmaml.errors import InputError, PairError
from bmaml.io.programs import compiler_options
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLearner, AbstractMixingLearner, Meta
from bmaml.tasks.base import AbstractSource, AbstractTasks, drawn_sizes
from bmaml.training.plan import Plan

# Tasks evaluated at once, and in one call of the program, after which Ctrl-C is heard.
_BATCH, _CALL = 8, 256
# With fewer tasks than this the counts of EM are noise, and the masses that training has found are better.
_FEWEST, _MOST_ROUNDS = 1_000, 100
# No mass falls by more in a round, so that a round of few tasks rules nothing out.
_LEAST_LEFT = 0.05


@register("plan/masses")
class EvidenceMasses(eqx.Module):
    """EM for the masses of what a learner's prior mixes (`AbstractMixingLearner.masses`), all else held.

    Meta-steps find such masses slowly: their gradient comes from queries, and a component that is rare is rarely met. Yet with
    few points a prediction rests on them. A round of EM gives a component the mean posterior probability that it has on new
    draws of training tasks, with as many points as training has at most. The gradient of the log evidence in the log mass is
    that probability minus the mass, so one gradient is a round (Xu and Jordan, 1996, https://doi.org/10.1162/neco.1996.8.1.129).
    A round of n tasks goes the share n / (n + `inertia`) of its way. The result is the mean over the second half of the rounds.

    A method takes it as an argument: `Method(learner, objective, masses=EvidenceMasses())`, with `ConjugateLearner` and
    `codes="drawn"`, whose prior has such masses.

    - `tasks`: number of tasks, of all rounds together, at least 1,000.
    - `share`: tasks are at most this share of those that the training has met. A training too short for a thousand is left as
      it is.
    - `rounds`: number of rounds, 1 to 100.
    - `inertia`: tasks that the masses before a round count as.

    Raises: InputError for fewer tasks, other rounds, or a share or an inertia that is not above 0.
    """

    tasks: int = eqx.field(static=True, default=8_000)
    share: float = eqx.field(static=True, default=0.05)
    rounds: int = eqx.field(static=True, default=4)
    inertia: float = eqx.field(static=True, default=200.0)

    def __check_init__(self):
        if self.tasks < _FEWEST or not 1 <= self.rounds <= _MOST_ROUNDS:
            asked = f"{self.tasks} tasks in {self.rounds} rounds"
            raise InputError(f"EvidenceMasses has {asked}: give at least {_FEWEST:,} tasks, and 1 to {_MOST_ROUNDS} rounds.")
        if not self.share > 0 or not self.inertia > 0:
            raise InputError(f"EvidenceMasses has share {self.share} and inertia {self.inertia}: give numbers above 0.")

    def check(self, learner: AbstractLearner) -> AbstractMixingLearner:
        """Return the `learner`.

        Raises: PairError if its prior has no masses.
        """
        if isinstance(learner, AbstractMixingLearner):
            return learner
        raise PairError(
            f"EvidenceMasses needs a prior that is a mixture and {type(learner).__name__} has none: use masses=None."
        )

    def drawn_from(self, source: AbstractSource) -> AbstractTasks:
        """Return the tasks of `source` whose evidence counts: those with the most points.

        Raises: InputError if it cannot draw so many with one query point.
        """
        assert isinstance(source, AbstractTasks)  # Evidence is that of points, and not of trajectories.
        return source.sized((drawn_sizes(source).shots,), 1)

    def __call__(
        self,
        learner: AbstractLearner,
        meta: Meta,
        source: AbstractSource,
        plan: Plan,
        say: Callable[[str], object] = lambda what: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Meta | None:
        """Return the meta-parameters with the masses found, or None if they were not found because of `stop`.

        - `learner`, `meta`: the trained learner.
        - `source`, `plan`: what it was trained on, and how.
        - `say`: hears what is being done.
        - `stop`: says whether to stop, every few seconds.
        """
        learner, sized = self.check(learner), self.drawn_from(source)
        count = int(min(self.tasks, self.share * plan.steps * plan.batch))
        if not learner.masses(meta):
            say("the prior has no masses that evidence could find")
            return meta
        if count < _FEWEST:
            say(f"masses of the prior stay as trained, because evidence of {count:,} tasks says too little")
            return meta
        calls = math.ceil(count / self.rounds / _CALL)
        each = count // self.rounds // calls
        key = jax.random.fold_in(jax.random.key(plan.seed), plan.steps)
        program = _gradient(learner, meta, sized, jax.random.split(key, each))
        averaged = []
        for place in range(self.rounds):
            say(f"masses of the prior, round {place + 1} of {self.rounds} of {each * calls:,} tasks")
            keys = jax.random.split(jax.random.fold_in(key, place), (calls, each))
            gradient = _in_calls(functools.partial(program, meta, sized), keys, stop)
            if gradient is None:
                return None
            masses = self._moved(learner.masses(meta), gradient, each * calls)
            meta = eqx.tree_at(learner.masses, meta, jax.tree.map(jnp.log, masses))
            averaged += [masses] if 2 * place >= self.rounds - 1 else []
        mean = jax.tree.map(lambda *masses: jnp.log(sum(masses) / len(masses)), *averaged)
        return eqx.tree_at(learner.masses, meta, mean)

    def _moved(self, log_masses: tuple[Array, ...], gradient: tuple[Array, ...], count: int) -> tuple[Array, ...]:
        """Return the masses after a round of `count` tasks with this `gradient` of their mean log evidence."""
        gain = count / (count + self.inertia)

        def moved(log_mass: Array, slope: Array) -> Array:
            mass = jax.nn.softmax(log_mass, -1)
            mass = jnp.maximum(mass + gain * slope, _LEAST_LEFT * mass + jnp.finfo(mass.dtype).tiny)
            return mass / mass.sum(-1, keepdims=True)

        return tuple(moved(*pair) for pair in zip(log_masses, gradient, strict=True))


def _in_calls(
    program: Callable[[Array], tuple[Array, ...]], keys: Key[Array, "calls tasks"], stop: Callable[[], bool]
) -> tuple[Array, ...] | None:
    """Return the mean of what `program` returns for each row of `keys`, or None if `stop` says so in between."""
    found = []
    for row in keys:
        if stop():
            return None
        found.append(jax.block_until_ready(program(row)))
    return jax.tree.map(lambda *each: sum(each) / len(each), *found)


def _gradient(
    learner: AbstractMixingLearner, meta: Meta, source: AbstractTasks, keys: Key[Array, " tasks"]
) -> Callable[[Meta, AbstractTasks, Array], tuple[Array, ...]]:
    """Return a program: the gradient in the log masses of the mean log evidence of a task's support, a task for each of `keys`.

    All arguments but the learner are those that the program is compiled for.
    """

    def of_task(masses: tuple[Array, ...], meta: Meta, source: AbstractTasks, key: PRNGKeyArray) -> Array:
        task_key, own_key = jax.random.split(key)
        moved = eqx.tree_at(learner.masses, meta, masses)
        return learner.weigh(moved, source.sample(task_key).support, key=own_key)[1]

    def mean(meta: Meta, source: AbstractTasks, keys: Key[Array, " tasks"]) -> tuple[Array, ...]:
        each = jax.grad(of_task)
        found = jax.lax.map(lambda key: each(learner.masses(meta), meta, source, key), keys, batch_size=_BATCH)
        return jax.tree.map(lambda leaf: leaf.mean(0), found)

    return jax.jit(mean).lower(meta, source, keys).compile(compiler_options())
