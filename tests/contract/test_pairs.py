"""Every learner with every objective through one contract: a new one is a new line in a table below."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import (
    CLASSES,
    EXTRACTOR,
    FEATURES,
    HEADS,
    MODEL,
    fixed_tasks,
    for_classes,
    is_one_sentence,
    jit,
    kind_for,
    labelled,
    preset,
    task,
)

from bmaml.data import Data, Task
from bmaml.inference.adjoints import FirstOrder, Implicit, Unrolled
from bmaml.inference.curvature import Diagonal, ExactHessian, GaussNewton, Kronecker, LastLayer
from bmaml.inference.directions import RBF, Langevin, Stein
from bmaml.inference.priors import AroundInit, GammaPrior, GaussianPrior
from bmaml.learners import (
    AbmlLearner,
    AmortisedLearner,
    ConjugateLearner,
    FeatureLearner,
    GradientLearner,
    Laplace,
    LearnedRates,
    Optax,
    PlatipusLearner,
    PrototypeLearner,
    RecalibratedLearner,
    RidgeLearner,
    Sgd,
)
from bmaml.learners.base import AbstractLatentLearner
from bmaml.learners.features import FeatureMeta, core
from bmaml.methods import METHODS, Method
from bmaml.models import MLP, CategoricalHead, DeepSets, GaussianModel, MLPFeatures, NormalHead, Recurrent, Transformer
from bmaml.objectives import ChaserLoss, Elbo, EvidenceLoss, LaplaceLoss, PooledLoss, QueryLoss
from bmaml.tasks import FixedTasks
from bmaml.training.loop import Loop
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan

KEY = jax.random.key(2)
NOISY = MLPFeatures(1, learned=3, hidden=(4,), code=2, heteroscedastic=True)
KNOWN = GaussianModel(MLP((1, 4, 1), "tanh"), precision=9.0, known=True)
SCORES = ("points", "joint", "each", "squared_error")

STEEP = GradientLearner(MODEL, rule=Sgd(1e-3), steps=2, particles=3, fit="mean")
AROUND = GradientLearner(MODEL, AroundInit(), Sgd(1e-3), 2, 3, adapt_noise=False)

# The kinds of learner, each with every objective.
LEARNERS = {
    "stein": GradientLearner(MODEL, GammaPrior(), Sgd(1e-3), 2, 3, Stein()),
    "classes": GradientLearner(CLASSES, GammaPrior(), Sgd(0.1), 1, 3, Stein()),
    "exact": ConjugateLearner(FEATURES, particles=3),
    "latent": PlatipusLearner(GradientLearner(MODEL, rule=LearnedRates(1e-2), steps=2), particles=3),
    "amortised": AmortisedLearner(Transformer(1, 8, 2, 2), NormalHead()),
    "laplace": Laplace(STEEP, GaussNewton()),
    "laplace of classes": Laplace(GradientLearner(CLASSES, AroundInit(), Sgd(0.1), 1), Kronecker(), predictive="sample"),
}
OBJECTIVES = {
    **{f"query {score}": QueryLoss(score) for score in SCORES},
    **{f"pooled {score}": PooledLoss(score) for score in SCORES},
    "reptile": ChaserLoss(0),
    "chaser": ChaserLoss(1),
    "chaser of 2 with hyper": ChaserLoss(2, hyper=True),
    "elbo": Elbo(samples=2),
    "penalised": LaplaceLoss(0.5),
    "evidence": EvidenceLoss(),
}
# Every other direction, rule, adjoint, prior and fit, with an objective that goes through the inner steps once or twice.
VARIANTS = {
    "langevin": GradientLearner(MODEL, GaussianPrior(), Sgd(1e-4), 2, 3, Langevin(1e-4)),
    "learned rates": GradientLearner(MODEL, rule=LearnedRates(1e-3), particles=3),
    "adam": GradientLearner(MODEL, rule=Optax(optax.adam(1e-2, eps_root=1e-8)), steps=2, particles=3, fit="mean"),
    "first order": GradientLearner(MODEL, AroundInit(), Sgd(1e-3), 2, 3, adjoint=FirstOrder(), fit="squared_error"),
    "known noise": GradientLearner(KNOWN, GammaPrior(), Sgd(1e-3), 2, 3, Stein()),
    "clipped": GradientLearner(MODEL, particles=3, steps=2, direction=Stein(RBF(median="distance"), 0.5), clip=0.5),
    "checkpointed": GradientLearner(MODEL, particles=3, steps=2, rule=Sgd(1e-3), adjoint=Unrolled(checkpoint=True)),
    "exact with drawn codes": ConjugateLearner(FEATURES, particles=3, codes="drawn"),
    "implicit": dataclasses.replace(AROUND, adjoint=Implicit()),
    "laplace, noise held": Laplace(AROUND, Kronecker()),
    "laplace, drawn": Laplace(dataclasses.replace(STEEP, particles=1), Kronecker(), predictive="sample", draws=3),
    "laplace, diagonal": Laplace(STEEP, Diagonal()),
    "laplace, last layer": Laplace(STEEP, LastLayer()),
    "laplace, exact": Laplace(STEEP, ExactHessian(), precision=1e5),
    "recalibrated": RecalibratedLearner(ConjugateLearner(FEATURES, particles=3), 2),
    "exact with own priors": ConjugateLearner(NOISY, particles=3, own_prior=True),
    "abml": AbmlLearner(GradientLearner(MODEL, rule=Sgd(1e-3), steps=1, clip=5.0), particles=3, draws=2),
    "latent of classes": PlatipusLearner(GradientLearner(CLASSES, rule=Sgd(0.1), fit="mean"), particles=3),
    "deep sets": AmortisedLearner(DeepSets(1, 8, 1), CategoricalHead(3)),
    "attention to classes": AmortisedLearner(Transformer(1, 8, 2, 2), CategoricalHead(3)),
    "recurrent": AmortisedLearner(Recurrent(1, 8, 1), NormalHead()),
    "prototypes by cosine of classes": FeatureLearner(EXTRACTOR, PrototypeLearner(3, "cosine", scale=5.0)),
    "plain ridge of classes": FeatureLearner(EXTRACTOR, RidgeLearner(4, 3, uncertainty=False)),
    "shared latent of classes": FeatureLearner(
        EXTRACTOR, PlatipusLearner(GradientLearner(HEADS, rule=Sgd(0.1), fit="mean"), particles=3)
    ),
    "shared laplace of classes": FeatureLearner(
        EXTRACTOR, Laplace(GradientLearner(HEADS, AroundInit(), Sgd(0.1)), LastLayer())
    ),
}


def refused(learner, objective):
    """The pairs that make no sense, by their reasons."""
    if objective in ("penalised", "evidence"):
        return "laplace" not in learner
    fits = {"exact": {"query points"}, "amortised": {"query points"}, "latent": {"query points", "elbo"}}
    if learner in fits or "laplace" in learner:
        return objective not in fits.get(learner, {"query points"})
    return objective == "elbo" or (learner == "classes" and "squared_error" in objective)


PAIRS = list(itertools.product(LEARNERS, OBJECTIVES))
ACCEPTED = {f"{a} / {b}": (LEARNERS[a], OBJECTIVES[b]) for a, b in PAIRS if not refused(a, b)}
for _name, _learner in VARIANTS.items():
    if not isinstance(core(_learner), AbstractLatentLearner):
        ACCEPTED[f"{_name} / points"] = (_learner, QueryLoss())
    if isinstance(_learner, GradientLearner):
        ACCEPTED[f"{_name} / chaser"] = (_learner, ChaserLoss(1))
    if isinstance(core(_learner), AbstractLatentLearner):
        ACCEPTED[f"{_name} / elbo"] = (_learner, Elbo(0.5, scored="all", hyper_weight=0.1))
    if isinstance(core(_learner), Laplace):
        ACCEPTED[f"{_name} / penalised"] = (_learner, LaplaceLoss(0.5))
# The other named methods' learners and objectives are among the pairs.
OTHERS = [name for name in METHODS if name == "cnp" or for_classes(name)]
METHODS_TOO = {f"method {name}": (preset(name).learner, preset(name).objective) for name in OTHERS}


def with_garbage(data, rows):
    """The data set with masked rows of nonsense after its own."""
    x = jnp.concatenate([data.x, jnp.full((rows, *data.x.shape[1:]), 37.0)])
    y = jnp.concatenate([data.y, jnp.full((rows, *data.y.shape[1:]), 2, data.y.dtype)])
    return Data(x, y, jnp.concatenate([data.mask, jnp.zeros(rows)]))


def shuffled(data, seed):
    """The same rows, real and masked, in another order."""
    order = np.random.default_rng(seed).permutation(len(data.mask))
    return jax.tree.map(lambda leaf: leaf[order], data)


def reordered(learner, meta):
    """The same particles in another order (of meta-parameters or of their gradient)."""
    order = jnp.asarray([2, 0, 1])

    def move(tree):
        return jax.tree.map(lambda leaf: leaf[order], tree)

    if isinstance(learner, FeatureLearner):
        return FeatureMeta(meta.extractor, reordered(learner.inner, meta.inner))
    learner = learner.base if isinstance(learner, Laplace) else learner
    if isinstance(learner, GradientLearner | RidgeLearner):
        return meta if learner.particles == 1 else move(meta)
    if not isinstance(learner, ConjugateLearner) or learner.codes == "drawn":
        return meta
    prior = move(meta.prior) if learner.own_prior else meta.prior
    return type(meta)(meta.network, move(meta.codes), prior, move(meta.log_weights))


def ordered(learner):
    """Whether a learner declares that it reads its support in order."""
    return isinstance(learner, AmortisedLearner) and learner.network.ordered


@functools.cache
def started(learner):
    """Meta-parameters of a learner that are no round numbers; in double precision, as the only test that asks for them."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape), jit(learner.init)(KEY))


def stacked(*trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def picked(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def same(found, wanted, what):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8 * (1 + np.abs(b).max(initial=0.0)), err_msg=what)


@pytest.mark.parametrize("pair", {**ACCEPTED, **METHODS_TOO})
def test_results_depend_on_no_padding_order_or_batching(pair, x64):
    """One program: the loss of a task by itself, and the loss and gradient of it padded, shuffled and permuted, vmapped.

    Langevin's noise belongs to a particle's place, so only there the order of particles matters; and the support's order
    matters to a recurrent network alone, which says so.
    """
    learner, objective = {**ACCEPTED, **METHODS_TOO}[pair]
    classes = "classes" in pair or "deep sets" in pair
    plain = task(kind=labelled if classes else kind_for(pair.removeprefix("method ")))
    meta = started(learner)
    padded = Task(with_garbage(plain.support, 2), with_garbage(plain.query, 3))
    tasks = (
        padded,
        Task(shuffled(padded.support, 1), padded.query),
        Task(padded.support, shuffled(padded.query, 2)),
        padded,
    )
    metas = (meta, meta, meta, reordered(learner, meta))

    def loss(meta, one):
        return Method(learner, objective).objective(learner, meta, one, key=KEY)[0]

    @jit
    def everything(meta, plain, metas, tasks):
        return loss(meta, plain), jax.vmap(jax.value_and_grad(loss))(metas, tasks)

    alone, (losses, gradients) = everything(meta, plain, stacked(*metas), stacked(*tasks))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((losses, gradients)))
    assert any(np.abs(leaf).max(initial=0.0) > 1e-8 for leaf in jax.tree.leaves(gradients))
    names = ("padding", "support order", "query order", "particle order")
    for i, name in enumerate(names):
        if (name == "particle order" and "langevin" in pair) or (name == "support order" and ordered(learner)):
            continue
        same(losses[i], alone, name)
        wanted = picked(gradients, 0)
        same(picked(gradients, i), reordered(learner, wanted) if name == "particle order" else wanted, f"gradient, {name}")


@pytest.mark.parametrize(("learner", "objective"), [pair for pair in PAIRS if refused(*pair)])
def test_pairs_that_make_no_sense_are_refused_with_what_to_use(learner, objective):
    with pytest.raises((TypeError, ValueError)) as error:
        Method(LEARNERS[learner], OBJECTIVES[objective])
    assert is_one_sentence(error.value, tells=r"\buse (QueryLoss|scoring=|Laplace)"), error.value


# The inner loops that differ, on classes.
ON_MODELS = ("maml", "imaml", "reptile", "ml-laplace", "bmaml", "platipus")
TRAINED = {
    **{name: (preset(name), fixed_tasks(kind=kind_for(name))) for name in METHODS},
    **{f"{name} on classes": (preset(name, CLASSES), fixed_tasks(kind=labelled)) for name in ON_MODELS},
}


@pytest.mark.parametrize("name", TRAINED)
def test_methods_train_in_one_compilation(name, compilations):
    """The loss falls over a few dozen meta-steps, in chunks of different lengths that share one program."""
    method, tasks = TRAINED[name]
    # The leader runs away from a chaser whose extractor learns to tell classes apart: its loss may grow while the fit improves.
    loop = Loop(method, tasks, Plan(100, 8, Adam(0.02, decay="none")))
    before = len(compilations)
    loop.compile()
    assert len(compilations) == before + 1
    first = loop.advance(8)["loss"]
    for count in (1, 30, 40):
        loop.advance(count)
    last = loop.advance(21)["loss"]
    assert len(compilations) == before + 1, "a chunk of another length was compiled anew"
    if name != "shared-bmaml":
        assert last < 0.9 * first if first > 0 else last < first - 0.1
    assert int(loop.state.skipped) == 0
    assert loop.step == int(loop.state.step) == 100


def test_a_task_source_hands_every_draw_the_same_shapes():
    """Else the compiled loop could not exist: ragged tasks and shots are told apart by masks alone."""
    tasks = fixed_tasks(shots=(2, 5))
    draws = [tasks.sample(jax.random.key(i)) for i in range(6)]
    shapes = {tuple(leaf.shape for leaf in jax.tree.leaves(draw)) for draw in draws}
    assert len(shapes) == 1
    assert {int(draw.support.count) for draw in draws} == {2, 5}
    assert isinstance(tasks, FixedTasks)
