"""A method for tasks whose points are given: a learner and an objective, and the gradient of one through the other."""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np

from bmaml.data import Data
from bmaml.errors import InputError, PairError, said
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLearner, AbstractPolicyLearner
from bmaml.learners.predictor import Predictor, check_fit
from bmaml.learners.wrappers import core
from bmaml.tasks.base import AbstractTasks
from bmaml.training.meta_step import build_chunk, init_state
from bmaml.training.method import AbstractMethod, check_parts
from bmaml.training.reuse import program_of


@register("method/pair")
class Method(AbstractMethod[Data, AbstractPosterior]):
    """A learner and an objective that fit each other; a meta-step follows the objective's gradient on tasks that are given.

    `answering` is the learner that a trained run answers with, where that is not the one that it trains with: the same with
    more particles, say, or more inner steps. It is saved with the run, so that the run answers alike wherever it is asked.
    Raises: PairError or InputError, with the reason and what to use instead, where they do not fit.
    """

    answering: AbstractLearner | None = None

    def __check_init__(self):
        check_parts(self.learner, self.objective, "Method")
        if isinstance(core(self.learner), AbstractPolicyLearner):
            raise PairError(
                f"Method learns from points that are given and {type(core(self.learner)).__name__} from trajectories that its "
                "policies gather: use PolicyMethod."
            )
        self.objective.check(self.learner)
        if self.answering is not None:
            _check_answering(self.learner, self.answering)

    @property
    def answerer(self):
        return self.learner if self.answering is None else self.answering

    def check(self, source):
        if not isinstance(source, AbstractTasks):
            raise InputError(
                f"a method that learns from given points cannot be trained on {type(source).__name__}, in which a policy acts: "
                "use a PolicyMethod."
            )

    def begin(self, plan):
        return init_state(self, plan)

    def compile(self, plan, source, state):
        seed, count = np.asarray(plan.seed, np.uint32), np.zeros((), np.int32)
        try:
            return program_of(build_chunk, self, plan, source).lower(state, source, seed, count).compile()
        except (TypeError, ValueError):
            # Only now, because it would cost time in each training that fits.
            check_fit(self.learner, state.meta, jax.eval_shape(source.sample, jax.random.key(0)))
            raise

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
        return Predictor(self.answerer, meta).adapt(given, key=key)


def _check_answering(learner: AbstractLearner, answering: AbstractLearner) -> None:
    """Check that one learner can answer with what the other has learned."""
    if not isinstance(answering, AbstractLearner):
        raise InputError(f"answering of Method is {said(answering)}: give a learner, or leave it out.")
    trained, asked = (eqx.filter_eval_shape(part.init, jax.random.key(0)) for part in (learner, answering))
    if not eqx.tree_equal(trained, asked):
        raise PairError(
            f"answering is a {type(answering).__name__} whose meta-parameters have other shapes than the learner's: give the "
            "learner itself with other settings, such as more particles that are drawn, or more inner steps."
        )
