"""The implicit adjoint against the unrolled one at convergence, a formula, and its memory against the unrolled's."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import is_one_sentence, jit, task
from jax.flatten_util import ravel_pytree

from bmaml.inference.adjoints import Implicit, Unrolled
from bmaml.inference.directions import Langevin, Stein
from bmaml.inference.priors import AroundInit, FlatPrior, GaussianPrior
from bmaml.learners import GradientLearner, LearnedRates, Sgd
from bmaml.models import MLP, GaussianModel
from bmaml.objectives import QueryLoss

KEY = jax.random.key(3)
MODEL = GaussianModel(MLP((1, 4, 1), "tanh"), precision=4.0)
IMPLICIT = Implicit(cg_steps=40, tolerance=1e-12)


def learner(adjoint, *, steps=600, fit="sum", adapt_noise=False, rate=0.005, pull=8.0):
    return GradientLearner(MODEL, AroundInit(pull), Sgd(rate), steps, adjoint=adjoint, fit=fit, adapt_noise=adapt_noise)


def gradient(chosen, score="each"):
    """The meta-gradient of the query's loss at fresh meta-parameters, as a vector."""
    meta = jit(chosen.init)(KEY)
    return ravel_pytree(jit(jax.grad(lambda m: QueryLoss(score)(chosen, m, task(), key=KEY)[0]))(meta))[0]


@pytest.mark.parametrize(
    ("settings", "score"),
    [
        ({}, "each"),
        ({"fit": "squared_error", "rate": 0.1, "pull": 1.0}, "squared_error"),
        ({"adapt_noise": True, "pull": 200.0, "rate": 0.001, "steps": 8000}, "each"),
    ],
    ids=["in nats", "squared error", "noise adapted"],
)
def test_at_convergence_it_is_the_unrolled_gradient(settings, score, x64):
    """To 1e-5, in the weights' start and in the noise precision."""
    found, wanted = (gradient(learner(adjoint, **settings), score) for adjoint in (IMPLICIT, Unrolled()))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())
    assert np.abs(wanted).max() > 1e-2


def test_short_of_convergence_it_is_the_formula_of_implicit_maml(x64):
    """(I + H / pull)^-1 times the query's gradient, H the Hessian of minus the log-likelihood where the steps end."""
    chosen, one, pull = learner(IMPLICIT, steps=3), task(), 8.0
    meta = jit(chosen.init)(KEY)
    vector, unravel = ravel_pytree(meta.particles.params["weights"])

    def params(v):
        return {"weights": jax.tree.map(lambda leaf: leaf[0], unravel(v)), "log_precision": jnp.log(4.0)}

    def nll(v, data):
        return -(MODEL.predictive(params(v), data.x).log_prob(data.y)).sum()

    @jit
    def formula(v):
        start = v
        for _ in range(3):
            v = v - 0.005 * (jax.grad(nll)(v, one.support) + pull * (v - start))
        hessian = jax.hessian(nll)(v, one.support)
        return jnp.linalg.solve(jnp.eye(len(v)) + hessian / pull, jax.grad(nll)(v, one.query) / 6)

    found = gradient(chosen)[1:]  # the first is the log precision's
    np.testing.assert_allclose(found, formula(vector), rtol=1e-9, atol=1e-11)


def test_memory_is_flat_in_inner_steps():
    """XLA's own account of the compiled meta-gradient at 4 and at 64 steps; the unrolled one grows."""

    def memory(adjoint, steps):
        chosen = learner(adjoint, steps=steps)
        meta = jit(chosen.init)(KEY)
        program = jax.jit(jax.grad(lambda m: QueryLoss("each")(chosen, m, task(), key=KEY)[0])).lower(meta).compile()
        return program.memory_analysis().temp_size_in_bytes

    implicit, unrolled = ([memory(adjoint, steps) for steps in (4, 64)] for adjoint in (Implicit(), Unrolled()))
    assert implicit[1] < 1.25 * implicit[0], implicit
    assert unrolled[1] > 4 * unrolled[0], unrolled
    assert implicit[1] < unrolled[1] / 4, (implicit, unrolled)


WRONG = {
    "no prior": {"prior": FlatPrior()},
    "prior elsewhere": {"prior": GaussianPrior()},
    "stein": {"direction": Stein()},
    "langevin": {"direction": Langevin(1e-3)},
    "learned rates": {"rule": LearnedRates()},
    "noise that nothing leads": {"fit": "squared_error", "adapt_noise": True},
}


@pytest.mark.parametrize("case", WRONG)
def test_what_has_no_solution_that_depends_on_the_start_is_refused(case):
    with pytest.raises(TypeError) as error:
        dataclasses.replace(learner(Implicit()), **WRONG[case])
    assert is_one_sentence(error.value)


@pytest.mark.parametrize("wrong", [{"cg_steps": 0}, {"tolerance": -1.0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="give") as error:
        Implicit(**wrong)
    assert is_one_sentence(error.value)
