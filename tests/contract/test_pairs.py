"""Every learner with every objective through one contract: a new one is a new line in `pairs.py`, or in a table below."""

import dataclasses
import functools

import equinox as eqx
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
    points,
    preset,
    task,
)
from pairs import LEARNERS, OBJECTIVES, PAGE, STEEP, to_markdown, why_not

from bmaml.data import Data, Task
from bmaml.inference.adjoints import FirstOrder, Implicit, Unrolled
from bmaml.inference.curvature import Diagonal, ExactHessian, Kronecker, LastLayer
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
from bmaml.learners.wrappers import core
from bmaml.methods import METHODS, Method
from bmaml.models import MLP, CategoricalHead, DeepSets, GaussianModel, MLPFeatures, NormalHead, Recurrent, Transformer
from bmaml.objectives import ChaserLoss, Elbo, EvidenceLoss, LaplaceLoss, QueryLoss
from bmaml.tasks import FixedTasks

KEY = jax.random.key(2)
NOISY = MLPFeatures(1, learned=3, hidden=(4,), code=2, heteroscedastic=True)
KNOWN = GaussianModel(MLP((1, 4, 1), "tanh"), precision=9.0, known=True)
AROUND = GradientLearner(MODEL, AroundInit(), Sgd(1e-3), 2, 3, adapt_noise=False)

# Every other direction, rule, adjoint, prior and fit, with one objective for each ability that the learner has.
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


# The pairs that mathematics does not allow, by their reasons.
NO_DISTANCE, NO_JOINT = {"query squared_error", "pooled squared_error"}, {"query joint", "pooled joint"}
NO_STEPS, NO_LATENT = {"reptile", "chaser", "chaser of 2 with hyper"}, {"elbo"}
NO_CURVATURE, NO_EVIDENCE = {"penalised"}, {"evidence"}
REFUSED = {
    "stein": NO_LATENT | NO_CURVATURE | NO_EVIDENCE,
    "classes": NO_DISTANCE | NO_LATENT | NO_CURVATURE | NO_EVIDENCE,
    "exact": NO_STEPS | NO_LATENT | NO_CURVATURE,
    "latent": NO_CURVATURE | NO_EVIDENCE,
    "amortised": NO_JOINT | NO_STEPS | NO_LATENT | NO_CURVATURE | NO_EVIDENCE,
    "laplace": NO_LATENT,
    "laplace of classes": NO_DISTANCE | NO_LATENT,
}
ACCEPTED = {
    name: (learner, {key: one for key, one in OBJECTIVES.items() if key not in REFUSED[name]})
    for name, learner in LEARNERS.items()
}
ABLE = {
    "points": QueryLoss(),
    "chaser": ChaserLoss(1),
    "elbo": Elbo(0.5, scored="all", hyper_weight=0.1),
    "penalised": LaplaceLoss(0.5),
    "evidence": EvidenceLoss(),
}
for _name, _learner in VARIANTS.items():
    ACCEPTED[_name] = (_learner, {key: one for key, one in ABLE.items() if why_not(_learner, one) is None})
# A named method whose kind of learner is new here comes with every objective that it can serve; those of classes, which have
# settings of their own, with theirs. The other named methods' learners and objectives are among the pairs.
KINDS = {type(core(learner)) for learner, _ in ACCEPTED.values()}
for _name in METHODS:
    _method = preset(_name)
    if type(core(_method.learner)) not in KINDS:
        _able = {key: one for key, one in ABLE.items() if why_not(_method.learner, one) is None}
        ACCEPTED[f"method {_name}"] = (_method.learner, {"its own": _method.objective} | _able)
    elif _name == "cnp" or for_classes(_name):
        ACCEPTED[f"method {_name}"] = (_method.learner, {"its own": _method.objective})


def kind_of(name):
    """The kind of points that a learner of the tables adapts to."""
    if name.startswith("method "):
        return kind_for(name.removeprefix("method "))
    return labelled if "classes" in name or name == "deep sets" else points


def losses_of(learner, objectives):
    """The learner's losses with all those objectives, as one function of meta-parameters and task."""

    def losses(meta, one):
        every = [Method(learner, objective).objective(learner, meta, one, key=KEY)[0] for objective in objectives.values()]
        return jnp.stack(every)

    return losses


def with_garbage(data, rows):
    """The data set with masked rows of nonsense after its own."""
    x = np.concatenate([data.x, np.full((rows, *data.x.shape[1:]), 37.0)])
    y = np.concatenate([data.y, np.full((rows, *data.y.shape[1:]), 2, data.y.dtype)])
    return jax.tree.map(jnp.asarray, Data(x, y, np.concatenate([data.mask, np.zeros(rows)])))


def shuffled(data, seed):
    """The same rows, real and masked, in another order."""
    order = np.random.default_rng(seed).permutation(len(data.mask))
    return jax.tree.map(lambda leaf: np.asarray(leaf)[order], data)


def reordered(learner, meta, axis=0):
    """The same particles, along an axis of their leaves, in another order (of meta-parameters or of their gradient)."""

    def move(tree):
        return jax.tree.map(lambda leaf: np.take(leaf, [2, 0, 1], axis), tree)

    if isinstance(learner, FeatureLearner):
        return eqx.tree_at(lambda m: m.inner, meta, reordered(learner.inner, meta.inner, axis))
    learner = learner.base if isinstance(learner, Laplace) else learner
    if isinstance(learner, GradientLearner | RidgeLearner):
        return meta if learner.particles == 1 else move(meta)
    if not isinstance(learner, ConjugateLearner) or learner.codes == "drawn":
        return meta
    meta = eqx.tree_at(lambda m: (m.codes, m.log_weights), meta, move((meta.codes, meta.log_weights)))
    return eqx.tree_at(lambda m: m.prior, meta, move(meta.prior)) if learner.own_prior else meta


def ordered(learner):
    """Whether a learner declares that it reads its support in order."""
    return isinstance(learner, AmortisedLearner) and learner.network.ordered


@functools.cache
def started(learner):
    """Meta-parameters of a learner that are no round numbers; in double precision, as the only test that asks for them."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: np.asarray(leaf) + 0.1 * rng.normal(size=leaf.shape), jit(learner.init)(KEY))


def stacked(*trees):
    """By NumPy, as all that only prepares or compares: JAX would compile a program for each shape."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def picked(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def same(found, wanted, what):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8 * (1 + np.abs(b).max(initial=0.0)), err_msg=what)


# What these add to the other objectives of a kind of learner is small: each scores as one of those does, or steps once more.
ALIKE = {"query each", "pooled points", "pooled joint", "pooled squared_error", "chaser"}
# Scores depend on what a learner predicts and not on how it learns: they are tried on one learner, and on exact heads, whose
# joint score is another.
SCORED = {"query joint", "query squared_error"}


def chosen(name, objectives):
    """The objectives that every test run tries: of a kind of learner those that differ, of a named method the plainest and
    the furthest from it, of a variant the plainest. All of them are tried by the costly tests, and so is every variant.
    """
    if name in LEARNERS:
        alike = ALIKE if name in ("stein", "exact") else ALIKE | SCORED | {"pooled each"}
        return {key: one for key, one in objectives.items() if key not in alike}
    keys = list(objectives)
    return {key: objectives[key] for key in dict.fromkeys((keys[0],) if name in VARIANTS else (keys[0], keys[-1]))}


BRIEFLY = {name: chosen(name, objectives) for name, (_, objectives) in ACCEPTED.items()}
LONGER = [name for name, (_, objectives) in ACCEPTED.items() if len(objectives) > len(BRIEFLY[name])]


IN_FULL = [pytest.param(name, True, marks=pytest.mark.costly) for name in LONGER]


# The identities of each part are held elsewhere; of the variants, those whose randomness or gradient is of another kind run.
OTHER_KINDS = {"langevin", "implicit", "first order", "exact with drawn codes", "recurrent", "recalibrated"}
COSTLY = VARIANTS.keys() - OTHER_KINDS
BRIEF = [pytest.param(name, False, marks=[pytest.mark.costly] if name in COSTLY else []) for name in ACCEPTED]


@pytest.mark.parametrize(("name", "every"), [*BRIEF, *IN_FULL])
def test_pairs_keep_the_contract_and_train(name, every, x64):
    """Losses and gradients of objectives of a learner: those of a task by itself, and of it padded, shuffled and permuted,
    vmapped, are the same; and the kinds of learner train with each objective.
    """
    learner, objectives = ACCEPTED[name][0], ACCEPTED[name][1] if every else BRIEFLY[name]
    losses, count = losses_of(learner, objectives), max(4, len(objectives))
    plain, meta = task(kind=kind_of(name)), started(learner)
    # Handed over and not closed over: of constants, XLA would work out the losses while it compiles.
    alone = np.asarray(jit(losses)(meta, plain))
    padded = Task(with_garbage(plain.support, 2), with_garbage(plain.query, 3))

    def twice(meta, one):
        return (found := losses(meta, one)), found

    @jit
    def program(metas, tasks):
        return jax.vmap(jax.jacrev(twice, has_aux=True))(metas, tasks)

    check_order(name, objectives, meta, alone, padded, program, count)
    if name in LEARNERS:
        check_training(objectives, meta, padded, program, count)


def check_order(name, objectives, meta, alone, padded, program, count):
    """Langevin's noise belongs to a particle's place, so only there the order of particles matters; and the support's order
    matters to a recurrent network alone, which says so.
    """
    learner = ACCEPTED[name][0]
    shuffles = Task(shuffled(padded.support, 1), padded.query), Task(padded.support, shuffled(padded.query, 2))
    tasks = (padded, *shuffles, *[padded] * (count - 3))
    metas = (meta, meta, meta, reordered(learner, meta), *[meta] * (count - 4))
    gradients, found = jax.tree.map(np.asarray, program(stacked(*metas), stacked(*tasks)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((found, gradients)))
    for i, objective in enumerate(objectives):
        moves = max(np.abs(leaf[0, i]).max(initial=0.0) for leaf in jax.tree.leaves(gradients))
        assert moves > 1e-8, f"{objective} has no gradient."
    for i, what in enumerate(("padding", "support order", "query order", "particle order")):
        if (what == "particle order" and name == "langevin") or (what == "support order" and ordered(learner)):
            continue
        same(found[i], alone, what)
        wanted = picked(gradients, 0)
        wanted = reordered(learner, wanted, axis=1) if what == "particle order" else wanted
        same(picked(gradients, i), wanted, f"gradient, {what}")


def units(gradients):
    """Gradients, stacked, each scaled to a norm of 1."""
    sizes = sum((leaf**2).reshape(len(leaf), -1).sum(1) for leaf in jax.tree.leaves(gradients)) ** 0.5
    return jax.tree.map(lambda leaf: leaf / sizes.reshape(-1, *[1] * (leaf.ndim - 1)), gradients)


# Their gradient is not that of their value: something in them is a constant to the gradient, so that the value may grow.
_STOPPED = {"reptile", "chaser", "chaser of 2 with hyper", "query squared_error"}


def check_training(objectives, meta, padded, program, count):
    """Twenty steps along the gradient, objectives of a learner side by side, each from the same start."""
    tasks, metas = stacked(*[padded] * count), stacked(*[meta] * count)
    own, curves = np.arange(len(objectives)), []
    for _ in range(20):
        gradients, found = jax.tree.map(np.asarray, program(metas, tasks))
        for leaf, step in zip(jax.tree.leaves(metas), jax.tree.leaves(units(picked(gradients, (own, own)))), strict=True):
            leaf[own] -= 0.01 * step
        curves.append(found[own, own])
    for objective, curve in zip(objectives, np.transpose(curves), strict=True):
        assert np.isfinite(curve).all()
        assert curve[-3:].mean() < curve[0] or objective in _STOPPED, f"{objective}: {curve}"


@pytest.mark.parametrize(("learner", "objective"), [(name, key) for name in LEARNERS for key in OBJECTIVES])
def test_a_pair_is_accepted_or_refused_with_what_to_use(learner, objective):
    reason = why_not(LEARNERS[learner], OBJECTIVES[objective])
    assert (reason is not None) == (objective in REFUSED[learner]), reason
    if reason is not None:
        assert is_one_sentence(reason, tells=r"\buse (QueryLoss|scoring=|Laplace|EvidenceLoss|Elbo)"), reason


def test_the_page_of_pairs_is_up_to_date():
    assert PAGE.read_text() == to_markdown(), "run `python tests/pairs.py`."


def test_a_task_source_hands_every_draw_the_same_shapes():
    """Else the compiled loop could not exist: ragged tasks and shots are told apart by masks alone."""
    tasks = fixed_tasks(shots=(2, 5))
    draws = [tasks.sample(jax.random.key(i)) for i in range(6)]
    shapes = {tuple(leaf.shape for leaf in jax.tree.leaves(draw)) for draw in draws}
    assert len(shapes) == 1
    assert {int(draw.support.count) for draw in draws} == {2, 5}
    assert isinstance(tasks, FixedTasks)
