"""Methods by gradient steps, exact heads and networks that read: each paper is one learner and one objective."""

from __future__ import annotations

from bmaml.inference.adjoints import FirstOrder, Implicit, Unrolled
from bmaml.inference.curvature import AbstractCurvature, GaussNewton
from bmaml.inference.directions import Stein
from bmaml.inference.priors import AbstractPrior, AroundInit, GammaPrior
from bmaml.learners import (
    AbmlLearner,
    AmortisedLearner,
    ConjugateLearner,
    GradientLearner,
    Laplace,
    LearnedRates,
    PlatipusLearner,
    Sgd,
)
from bmaml.learners.conjugate import Codes
from bmaml.learners.exact_heads import AbstractExactHead, InverseGammaHead
from bmaml.learners.gradient import Fit
from bmaml.methods.base import Method
from bmaml.models import (
    AbstractContextNetwork,
    AbstractFeatures,
    AbstractModel,
    CategoricalHead,
    DeepSets,
    GaussianModel,
    NormalHead,
    Recurrent,
    Transformer,
)
from bmaml.objectives import ChaserLoss, Elbo, LaplaceLoss, PooledLoss, QueryLoss
from bmaml.objectives.query import Scoring

_GAUSS_NEWTON = GaussNewton()
_INVERSE_GAMMA = InverseGammaHead()
_GAMMA = GammaPrior()


def _point_losses(model: AbstractModel) -> tuple[Fit, Scoring]:
    """Return the inner fit and the query score of a point method: squared error for regression, mean NLL for classes."""
    return ("squared_error", "squared_error") if isinstance(model, GaussianModel) else ("mean", "each")


def _points(
    model: AbstractModel, *, inner_learning_rate: float, inner_steps: int, particles: int = 1, **kwargs
) -> GradientLearner:
    rule = kwargs.pop("rule", None) or Sgd(inner_learning_rate)
    return GradientLearner(model, rule=rule, steps=inner_steps, particles=particles, fit=_point_losses(model)[0], **kwargs)


def maml(
    model: AbstractModel,
    *,
    inner_learning_rate: float = 0.01,
    inner_steps: int = 1,
    clip: float | None = None,
    checkpoint: bool = False,
) -> Method:
    """MAML, second order: Finn et al. (2017), algorithm 1."""
    learner = _points(
        model, inner_learning_rate=inner_learning_rate, inner_steps=inner_steps, clip=clip, adjoint=Unrolled(checkpoint)
    )
    return Method(learner, QueryLoss(_point_losses(model)[1]), name="maml")


def fomaml(
    model: AbstractModel, *, inner_learning_rate: float = 0.01, inner_steps: int = 1, clip: float | None = None
) -> Method:
    """First-order MAML: inner gradients are taken as constants. Finn et al. (2017), section 5.2."""
    learner = _points(model, inner_learning_rate=inner_learning_rate, inner_steps=inner_steps, clip=clip, adjoint=FirstOrder())
    return Method(learner, QueryLoss(_point_losses(model)[1]), name="fomaml")


def meta_sgd(
    model: AbstractModel, *, inner_learning_rate: float = 0.01, inner_steps: int = 1, clip: float | None = None
) -> Method:
    """Meta-SGD: MAML with a learned inner rate for every parameter. Li et al. (2017)."""
    learner = _points(
        model,
        inner_learning_rate=inner_learning_rate,
        inner_steps=inner_steps,
        clip=clip,
        rule=LearnedRates(inner_learning_rate),
    )
    return Method(learner, QueryLoss(_point_losses(model)[1]), name="meta-sgd")


def imaml(
    model: AbstractModel,
    *,
    inner_learning_rate: float = 0.01,
    inner_steps: int = 16,
    proximal_strength: float = 20.0,
    cg_steps: int = 5,
    clip: float | None = None,
) -> Method:
    """Implicit MAML: the inner loss + pull/2 |moved|^2, differentiated at its solution. Rajeswaran et al. (2019).

    The meta-gradient is wrong where `proximal_strength` is below the loss's negative curvature, or the steps stop far from the
    solution.
    """
    around = {"prior": AroundInit(proximal_strength), "adjoint": Implicit(cg_steps), "adapt_noise": False}
    learner = _points(model, inner_learning_rate=inner_learning_rate, inner_steps=inner_steps, clip=clip, **around)
    return Method(learner, QueryLoss(_point_losses(model)[1]), name="imaml")


def reptile(
    model: AbstractModel, *, inner_learning_rate: float = 0.02, inner_steps: int = 5, clip: float | None = None
) -> Method:
    """Reptile: move towards where plain inner steps lead. Nichol et al. (2018), as the chaser loss with 0 leader steps."""
    return Method(
        _points(model, inner_learning_rate=inner_learning_rate, inner_steps=inner_steps, clip=clip, adjoint=FirstOrder()),
        ChaserLoss(steps=0),
        name="reptile",
    )


def emaml(
    model: AbstractModel,
    *,
    particles: int = 10,
    inner_learning_rate: float = 0.01,
    inner_steps: int = 1,
    clip: float | None = None,
) -> Method:
    """An ensemble of independent MAMLs, the baseline of Kim et al. (2018)."""
    learner = _points(model, inner_learning_rate=inner_learning_rate, inner_steps=inner_steps, particles=particles, clip=clip)
    return Method(learner, QueryLoss(_point_losses(model)[1]), name="emaml")


def _in_nats(model: AbstractModel, inner_learning_rate: float, inner_steps: int, clip: float | None) -> GradientLearner:
    return GradientLearner(model, rule=Sgd(inner_learning_rate), steps=inner_steps, clip=clip, adapt_noise=False)


def ml_point(
    model: AbstractModel, *, inner_learning_rate: float = 1e-3, inner_steps: int = 5, clip: float | None = None
) -> Method:
    """MAML as hierarchical Bayes with point estimates: likelihoods in nats inside and outside. Grant et al. (2018).

    The noise precision is a meta-parameter that tasks share.
    """
    return Method(_in_nats(model, inner_learning_rate, inner_steps, clip), QueryLoss("each"), name="ml-point")


def ml_laplace(
    model: AbstractModel,
    *,
    inner_learning_rate: float = 1e-3,
    inner_steps: int = 5,
    tau: float = 1.0,
    eta: float = 1e-6,
    clip: float | None = None,
    curvature: AbstractCurvature = _GAUSS_NEWTON,
) -> Method:
    """ML-LAPLACE: ml_point with a Gaussian about the adapted weights, + eta log det of its precision. Grant et al. (2018).

    The paper's curvature is Kronecker-factored, for its convolutions; with few points the full one costs little.
    """
    return Method(
        Laplace(_in_nats(model, inner_learning_rate, inner_steps, clip), curvature, tau), LaplaceLoss(eta), name="ml-laplace"
    )


def _stein(
    model: AbstractModel,
    particles: int,
    inner_learning_rate: float,
    inner_steps: int,
    clip: float | None,
    checkpoint: bool,
    prior: AbstractPrior,
):
    return GradientLearner(
        model,
        prior=prior,
        rule=Sgd(inner_learning_rate),
        steps=inner_steps,
        particles=particles,
        direction=Stein(),
        adjoint=Unrolled(checkpoint),
        clip=clip,
    )


def bfa(
    model: AbstractModel,
    *,
    particles: int = 10,
    inner_learning_rate: float = 1e-3,
    inner_steps: int = 1,
    clip: float | None = None,
    checkpoint: bool = False,
    prior: AbstractPrior = _GAMMA,
) -> Method:
    """Bayesian fast adaptation: Stein particles, scored by the mixture. Kim et al. (2018), algorithm 2."""
    return Method(
        _stein(model, particles, inner_learning_rate, inner_steps, clip, checkpoint, prior), QueryLoss("joint"), name="bfa"
    )


def bmaml(
    model: AbstractModel,
    *,
    particles: int = 10,
    inner_learning_rate: float = 1e-3,
    inner_steps: int = 1,
    leader_steps: int = 1,
    clip: float | None = None,
    checkpoint: bool = False,
    prior: AbstractPrior = _GAMMA,
) -> Method:
    """Bayesian MAML: Stein particles, with Gamma hyper-priors unless told otherwise, and the chaser loss.

    Kim et al. (2018), algorithm 3.
    """
    return Method(
        _stein(model, particles, inner_learning_rate, inner_steps, clip, checkpoint, prior),
        ChaserLoss(leader_steps),
        name="bmaml",
    )


def pretrain(
    model: AbstractModel, *, inner_learning_rate: float = 0.01, inner_steps: int = 10, clip: float | None = None
) -> Method:
    """Pretrain on all tasks pooled, fine-tune on the support: the baseline of Finn et al. (2017), section 5.1."""
    return Method(
        _points(model, inner_learning_rate=inner_learning_rate, inner_steps=inner_steps, clip=clip),
        PooledLoss(_point_losses(model)[1]),
        name="pretrain",
    )


def experts(
    features: AbstractFeatures,
    *,
    particles: int = 64,
    outputs: int = 1,
    noise: float = 1e-2,
    own_prior: bool = False,
    learn_weights: bool = False,
    codes: Codes = "learned",
    head: AbstractExactHead = _INVERSE_GAMMA,
    evidence: float = 0.0,
    kept: float = 1.0,
) -> Method:
    """Particles of feature extractors with exact Bayesian heads, weighted by evidence: the default of the front doors."""
    learner = ConjugateLearner(features, outputs, particles, noise, own_prior, learn_weights, codes, head, kept)
    return Method(learner, QueryLoss("points", evidence), name="experts")


def platipus(
    model: AbstractModel,
    *,
    particles: int = 10,
    inner_learning_rate: float = 0.01,
    inner_steps: int = 1,
    kl_weight: float = 1.0,
    samples: int = 1,
    clip: float | None = None,
) -> Method:
    """PLATIPUS, probabilistic MAML, its inner rates learned: Finn, Xu and Levine (2018), algorithms 1 and 2."""
    inner = _points(
        model,
        inner_learning_rate=inner_learning_rate,
        inner_steps=inner_steps,
        clip=clip,
        rule=LearnedRates(inner_learning_rate),
    )
    return Method(PlatipusLearner(inner, particles, gamma=inner_learning_rate), Elbo(kl_weight, samples), name="platipus")


def abml(
    model: AbstractModel,
    *,
    particles: int = 10,
    inner_learning_rate: float = 0.01,
    inner_steps: int = 5,
    draws: int = 5,
    inner_kl: float = 1e-4,
    kl_weight: float = 1.0,
    samples: int = 1,
    hyper_weight: float = 1e-6,
    clip: float | None = None,
) -> Method:
    """Amortised Bayesian meta-learning: Ravi and Beatson (2019), algorithm 1."""
    inner = _points(model, inner_learning_rate=inner_learning_rate, inner_steps=inner_steps, clip=clip)
    return Method(AbmlLearner(inner, particles, draws, inner_kl), Elbo(kl_weight, samples, "all", hyper_weight), name="abml")


def _amortised(
    network: AbstractContextNetwork, outputs: int, classes: bool, output_scale: float, floor: float, *, name: str
) -> Method:
    head = CategoricalHead(outputs) if classes else NormalHead(outputs, output_scale, floor)
    return Method(AmortisedLearner(network, head), QueryLoss("points"), name=name)


def cnp(
    inputs: int = 1,
    outputs: int = 1,
    *,
    classes: bool = False,
    width: int = 128,
    depth: int = 3,
    input_scale: float = 1.0,
    output_scale: float = 1.0,
    floor: float = 1e-3,
) -> Method:
    """Conditional neural process: deep sets. Garnelo et al. (2018). With `classes` there are `outputs` of them."""
    network = DeepSets(inputs, width, depth, input_scale=input_scale)
    return _amortised(network, outputs, classes, output_scale, floor, name="cnp")


def tnp(
    inputs: int = 1,
    outputs: int = 1,
    *,
    classes: bool = False,
    width: int = 64,
    layers: int = 4,
    heads: int = 4,
    input_scale: float = 1.0,
    output_scale: float = 1.0,
    floor: float = 1e-3,
) -> Method:
    """Transformer neural process, diagonal. Nguyen and Grover (2022). With `classes` there are `outputs` of them."""
    network = Transformer(inputs, width, layers, heads, input_scale=input_scale)
    return _amortised(network, outputs, classes, output_scale, floor, name="tnp")


def rnn(
    inputs: int = 1,
    outputs: int = 1,
    *,
    classes: bool = False,
    width: int = 128,
    depth: int = 2,
    input_scale: float = 1.0,
    output_scale: float = 1.0,
    floor: float = 1e-3,
) -> Method:
    """A recurrent learner (GRU), to which the order of the support matters. Hochreiter et al. (2001); Santoro et al. (2016)."""
    network = Recurrent(inputs, width, depth, input_scale=input_scale)
    return _amortised(network, outputs, classes, output_scale, floor, name="rnn")
