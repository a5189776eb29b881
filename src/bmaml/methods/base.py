"""A method for tasks whose points are given: a learner and an objective, and the gradient of one through the other."""

from __future__ import annotations

import jax.numpy as jnp

from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.io.registry import register
from bmaml.tasks.base import AbstractTasks
from bmaml.training.meta_step import build_chunk, init_state
from bmaml.training.method import AbstractMethod


@register("method/pair")
class Method(AbstractMethod[Data, AbstractPosterior]):
    """A learner and an objective that fit each other; a meta-step follows the objective's gradient on tasks that are given.

    Raises: PairError or InputError, with the reason and what to use instead, where they do not.
    """

    def __check_init__(self):
        self.objective.check(self.learner)

    def check(self, source):
        if not isinstance(source, AbstractTasks):
            raise InputError(
                f"a method that learns from given points cannot be trained on {type(source).__name__}, in which a policy acts: "
                "use a PolicyMethod."
            )

    def begin(self, plan):
        return init_state(self, plan)

    def compile(self, plan, source, state):
        seed, count = jnp.asarray(plan.seed, jnp.uint32), jnp.zeros((), jnp.int32)
        return build_chunk(self, plan).lower(state, source, seed, count).compile()

    def explain(self, bad, skipped):
        step, task = (int(v) for v in bad)
        where = f"task {task} of the meta-batch" if task >= 0 else "the gradient"
        return (
            f"{skipped} meta-steps were not finite, the last at step {step} in {where}: lower the inner rate, set clip on "
            "the learner, or lower the outer rate."
        )

    def adapt(self, meta, given, *, key):
        if not isinstance(given, Data):
            raise InputError(f"a task's support was given as a {type(given).__name__}: give x and y, or a bmaml.Data.")
        return self.learner.adapt(meta, given, key=key)
