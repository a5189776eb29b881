"""Methods by gradient steps and by exact heads: each paper is one learner and one objective.

Defaults are those of the paper where a docstring says so. All others are starting points. The table in `rows.py` holds the
settings that were tuned for each kind of tasks. Every gradient method takes these arguments:

- `model`: a network with its likelihood.
- `inner_learning_rate`: size of an inner step. Its unit depends on the scale of the inner loss, which each docstring
  states.
- `inner_steps`: number of inner steps in training.
- `clip`: bound on the norm of one particle's inner direction (None: no bound).
- `checkpoint`: recompute inner steps in the backward pass, to save memory.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from bmaml.errors import InputError
from bmaml.inference.adjoints import FirstOrder, Implicit, Unrolled
from bmaml.inference.curvature import AbstractCurvature, GaussNewton
from bmaml.inference.directions import Stein
from bmaml.inference.priors import AbstractPrior, AroundInit, GammaPrior
from bmaml.learners import ConjugateLearner, GradientLearner, Laplace, LearnedRates, Sgd
from bmaml.learners.conjugate import Codes
from bmaml.learners.exact_heads import AbstractExactHead, InverseGammaHead
from bmaml.learners.gradient import Fit
from bmaml.learners.noise import ResidualNoise
from bmaml.learners.resized import finely_drawn
from bmaml.methods.arguments import explained
from bmaml.methods.base import Method
from bmaml.models import AbstractFeatures, AbstractModel, GaussianModel
from bmaml.objectives import ChaserLoss, LaplaceLoss, PooledLoss, QueryLoss
from bmaml.objectives.query import Scoring
from bmaml.training.masses import EvidenceMasses

_GAUSS_NEWTON = GaussNewton()
_INVERSE_GAMMA = InverseGammaHead()
_GAMMA = GammaPrior()
_STEIN = Stein()
Noise = Literal["residuals", "gamma"]


def _point_losses(model: AbstractModel) -> tuple[Fit, Scoring]:
    """Return the inner fit and the query score of a point method: squared error for regression, mean NLL for classes."""
    return ("squared_error", "squared_error") if isinstance(model, GaussianModel) else ("mean", "each")


def point_learner(
    model: AbstractModel, *, inner_learning_rate: float, inner_steps: int, particles: int = 1, **kwargs
) -> GradientLearner:
    """Return the learner of a point method.

    `model`, `inner_learning_rate` and `inner_steps` are those of the module's docstring, `particles` is their number, and
    `kwargs` are further fields of `GradientLearner`.
    """
    rule = kwargs.pop("rule", None) or Sgd(inner_learning_rate)
    return GradientLearner(model, rule=rule, steps=inner_steps, particles=particles, fit=_point_losses(model)[0], **kwargs)


@explained
def maml(
    model: AbstractModel,
    *,
    inner_learning_rate: float = 0.01,
    inner_steps: int = 1,
    clip: float | None = None,
    checkpoint: bool = False,
) -> Method:
    """MAML, second order.

    Finn et al. (2017), algorithm 1, https://arxiv.org/abs/1703.03400. The inner loss is the mean squared error, or the mean NLL
    of classes. The defaults of `inner_learning_rate` and `inner_steps` are those of the paper's sinusoids. `model`, `clip` and
    `checkpoint` are as in the module's docstring.

    >>> from bmaml.models import MLP
    >>> method = maml(GaussianModel(MLP((1, 40, 1))), inner_steps=5)
    >>> method.learner.steps, method.objective.scoring
    (5, 'squared_error')
    """
    learner = point_learner(
        model, inner_learning_rate=inner_learning_rate, inner_steps=inner_steps, clip=clip, adjoint=Unrolled(checkpoint)
    )
    return Method(learner, QueryLoss(_point_losses(model)[1]), name="maml")


@explained
def fomaml(
    model: AbstractModel, *, inner_learning_rate: float = 0.01, inner_steps: int = 1, clip: float | None = None
) -> Method:
    """First-order MAML, which treats inner gradients as constants.

    Finn et al. (2017), section 5.2, https://arxiv.org/abs/1703.03400. `model`, `inner_learning_rate`, `inner_steps` and `clip`
    are as in `maml`.
    """
    learner = point_learner(
        model, inner_learning_rate=inner_learning_rate, inner_steps=inner_steps, clip=clip, adjoint=FirstOrder()
    )
    return Method(learner, QueryLoss(_point_losses(model)[1]), name="fomaml")


@explained
def meta_sgd(
    model: AbstractModel, *, inner_learning_rate: float = 0.01, inner_steps: int = 1, clip: float | None = None
) -> Method:
    """Meta-SGD: MAML with a learned inner rate for every parameter.

    Li et al. (2017), https://arxiv.org/abs/1707.09835. All rates start at `inner_learning_rate`. `model`, `inner_steps` and
    `clip` are as in `maml`.
    """
    learner = point_learner(
        model,
        inner_learning_rate=inner_learning_rate,
        inner_steps=inner_steps,
        clip=clip,
        rule=LearnedRates(inner_learning_rate),
    )
    return Method(learner, QueryLoss(_point_losses(model)[1]), name="meta-sgd")


@explained
def imaml(
    model: AbstractModel,
    *,
    inner_learning_rate: float = 0.01,
    inner_steps: int = 16,
    proximal_strength: float = 20.0,
    cg_steps: int = 5,
    clip: float | None = None,
) -> Method:
    """Implicit MAML: the inner loss plus a pull towards the start, differentiated at its solution.

    Rajeswaran et al. (2019), https://arxiv.org/abs/1909.04630. The meta-gradient is wrong if the pull is weaker than the loss's
    negative curvature, or if the steps stop far from the solution.

    - `model`, `inner_learning_rate`, `clip`: as in `maml`.
    - `inner_steps`: steps towards the solution; 16 as on the paper's Omniglot.
    - `proximal_strength`: lambda in lambda/2 |moved|^2, on the scale of the mean inner loss. 20 is the value that worked on the
      sinusoids.
    - `cg_steps`: conjugate gradient steps; 5 as in the paper.
    """
    around = {"prior": AroundInit(proximal_strength), "adjoint": Implicit(cg_steps), "adapt_noise": False}
    learner = point_learner(model, inner_learning_rate=inner_learning_rate, inner_steps=inner_steps, clip=clip, **around)
    return Method(learner, QueryLoss(_point_losses(model)[1]), name="imaml")


@explained
def reptile(
    model: AbstractModel, *, inner_learning_rate: float = 0.02, inner_steps: int = 5, clip: float | None = None
) -> Method:
    """Reptile: move the start towards the end of plain inner steps.

    Nichol et al. (2018), https://arxiv.org/abs/1803.02999. It is the chaser loss with 0 leader steps. The default rate is that
    of the paper's sinusoid example. `model`, `inner_learning_rate`, `inner_steps` and `clip` are as in `maml`.
    """
    return Method(
        point_learner(model, inner_learning_rate=inner_learning_rate, inner_steps=inner_steps, clip=clip, adjoint=FirstOrder()),
        ChaserLoss(steps=0),
        name="reptile",
    )


@explained
def emaml(
    model: AbstractModel,
    *,
    particles: int = 10,
    inner_learning_rate: float = 0.01,
    inner_steps: int = 1,
    clip: float | None = None,
) -> Method:
    """An ensemble of independent MAMLs, the baseline of Kim et al. (2018).

    https://arxiv.org/abs/1806.03836. `particles` is the number of MAMLs. `model`, `inner_learning_rate`, `inner_steps` and
    `clip` are as in `maml`.
    """
    learner = point_learner(
        model, inner_learning_rate=inner_learning_rate, inner_steps=inner_steps, particles=particles, clip=clip
    )
    return Method(learner, QueryLoss(_point_losses(model)[1]), name="emaml")


def _in_nats(model: AbstractModel, inner_learning_rate: float, inner_steps: int, clip: float | None) -> GradientLearner:
    return GradientLearner(model, rule=Sgd(inner_learning_rate), steps=inner_steps, clip=clip, adapt_noise=False)


@explained
def ml_point(
    model: AbstractModel, *, inner_learning_rate: float = 1e-3, inner_steps: int = 5, clip: float | None = None
) -> Method:
    """MAML as hierarchical Bayes with point estimates: log-likelihoods in nats inside and outside.

    Grant et al. (2018), https://arxiv.org/abs/1801.08930. The inner loss is a sum over the support, so `inner_learning_rate` is
    much smaller than MAML's. The noise precision is a meta-parameter that tasks share. `model`, `inner_steps` and `clip` are as
    in the module's docstring.
    """
    return Method(_in_nats(model, inner_learning_rate, inner_steps, clip), QueryLoss("each"), name="ml-point")


@explained
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
    """ML-LAPLACE: `ml_point` with a Gaussian about the adapted weights, whose precision enters the loss by its log determinant.

    Grant et al. (2018), subroutine 4, https://arxiv.org/abs/1801.08930.

    - `model`, `inner_learning_rate`, `inner_steps`, `clip`: as in `ml_point`.
    - `tau`: precision of the prior about the start.
    - `eta`: weight of the log determinant, against a sum of NLLs over the query; 1e-6 as in the paper.
    - `curvature`: form of the curvature. The paper's is Kronecker-factored, for its convolutions. With few points the full one
      costs little.
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
    direction: Stein,
    noise: ResidualNoise | None = None,
):
    return GradientLearner(
        model,
        prior=prior,
        rule=Sgd(inner_learning_rate),
        steps=inner_steps,
        particles=particles,
        direction=direction,
        adjoint=Unrolled(checkpoint),
        clip=clip,
        noise=noise,
    )


@explained
def bfa(
    model: AbstractModel,
    *,
    particles: int = 10,
    inner_learning_rate: float = 1e-3,
    inner_steps: int = 1,
    clip: float | None = None,
    checkpoint: bool = False,
    prior: AbstractPrior = _GAMMA,
    direction: Stein = _STEIN,
) -> Method:
    """Bayesian fast adaptation: Stein particles, scored by the mixture of their joint densities of the query.

    Kim et al. (2018), algorithm 2, https://arxiv.org/abs/1806.03836. The particles climb a sum in nats.

    - `model`, `inner_learning_rate`, `inner_steps`, `clip`, `checkpoint`: as in the module's docstring.
    - `particles`: number of particles.
    - `prior`: prior of a particle; the paper's Gamma hierarchy by default.
    - `direction`: the kernel, its bandwidth and the weight of the repulsion.
    """
    learner = _stein(model, particles, inner_learning_rate, inner_steps, clip, checkpoint, prior, direction)
    return Method(learner, QueryLoss("joint"), name="bfa")


@explained
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
    direction: Stein = _STEIN,
    noise: Noise = "residuals",
    most_points: int | None = None,
) -> Method:
    """Bayesian MAML: Stein particles and the chaser loss.

    Kim et al. (2018), algorithm 3, https://arxiv.org/abs/1806.03836. The particles climb a sum in nats.

    - `model`, `inner_learning_rate`, `inner_steps`, `clip`, `checkpoint`: as in the module's docstring.
    - `particles`, `prior`, `direction`: as in `bfa`.
    - `leader_steps`: further steps of the leader on support and query.
    - `noise`: what predictions of numbers state. `"residuals"` reads it from a task's residuals (`ResidualNoise`). `"gamma"` is
      the paper's: the noise precision that the particles climb with. The chaser loss trains gamma as the length of a step, so
      that the stated noise is much too small.
    - `most_points`: answers count more points than this as so many (None: as they are). The largest support of training keeps
      the steps of answers as long as those of training; with more points they would go too far.
    """
    if noise not in get_args(Noise):
        raise InputError(f"noise of bmaml is {noise!r}: give 'residuals' or 'gamma'.")
    stated = ResidualNoise() if noise == "residuals" and isinstance(model, GaussianModel) else None
    learner = _stein(model, particles, inner_learning_rate, inner_steps, clip, checkpoint, prior, direction, stated)
    answering = None if most_points is None else dataclasses.replace(learner, most_points=most_points)
    return Method(learner, ChaserLoss(leader_steps), answering, name="bmaml")


@explained
def pretrain(
    model: AbstractModel, *, inner_learning_rate: float = 0.01, inner_steps: int = 10, clip: float | None = None
) -> Method:
    """Pretrain on all tasks pooled, fine-tune on the support: the baseline of Finn et al. (2017), section 5.1.

    https://arxiv.org/abs/1703.03400. `inner_learning_rate` and `inner_steps` are those of fine-tuning. `model` and `clip` are
    as in `maml`.
    """
    return Method(
        point_learner(model, inner_learning_rate=inner_learning_rate, inner_steps=inner_steps, clip=clip),
        PooledLoss(_point_losses(model)[1]),
        name="pretrain",
    )


@explained
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
    masses: EvidenceMasses | None = None,
) -> Method:
    """Particles of feature extractors with exact Bayesian heads, weighted by evidence: the default for families of tasks.

    See `ConjugateLearner`. With one particle this is close to ALPaCA, Harrison et al. (2018), https://arxiv.org/abs/1807.08912.
    Where codes are drawn, a trained run answers with twice as many and at least 256, and keeps at least 64.

    - `features`: the network below the heads.
    - `particles`: number of experts.
    - `outputs`: width of a target row.
    - `noise`: start of the relative noise variance.
    - `own_prior`: whether each expert has its own head prior.
    - `learn_weights`: whether prior weights (or the density of codes) are learned.
    - `codes`: `"learned"` or `"drawn"`.
    - `head`: the prior of the heads.
    - `evidence`: weight of the support's log evidence in the loss, in nats a support point.
    - `kept`: share of the experts that go on once the support is seen.
    - `masses`: finds the density of drawn codes and the masses of the head's prior by EM after the last meta-step; None keeps
      those of the meta-steps.
    """
    learner = ConjugateLearner(features, outputs, particles, noise, own_prior, learn_weights, codes, head, kept)
    # Few experts that are drawn are enough for a gradient; an answer is worth more of them.
    finer = finely_drawn(learner)
    return Method(learner, QueryLoss("points", evidence), None if finer == learner else finer, name="experts", masses=masses)
