"""Methods with a latent variable for each task, scored by a bound on the evidence."""

from __future__ import annotations

from bmaml.learners import AbmlLearner, LearnedRates, PlatipusLearner
from bmaml.methods.arguments import explained
from bmaml.methods.base import Method
from bmaml.methods.presets import point_learner
from bmaml.models import AbstractModel
from bmaml.objectives import Elbo


@explained
def platipus(
    model: AbstractModel,
    *,
    particles: int = 10,
    inner_learning_rate: float = 0.01,
    inner_steps: int = 1,
    mean_learning_rate: float | None = None,
    kl_weight: float = 1.0,
    samples: int = 1,
    clip: float | None = None,
) -> Method:
    """PLATIPUS, probabilistic MAML, with learned inner rates.

    Finn, Xu and Levine (2018), algorithms 1 and 2, https://arxiv.org/abs/1806.02817. The inner loss is that of `maml`.

    - `model`, `inner_steps`, `clip`: as in `bmaml.methods.presets`.
    - `particles`: starts that adaptation draws.
    - `inner_learning_rate`: start of the learned rates of the inner steps.
    - `mean_learning_rate`: start of the learned rates of the means (None: the same).
    - `kl_weight`: weight of the divergence; 1 is the bound, in nats a query point.
    - `samples`: draws for the expectation in the bound.
    """
    inner = point_learner(
        model,
        inner_learning_rate=inner_learning_rate,
        inner_steps=inner_steps,
        clip=clip,
        rule=LearnedRates(inner_learning_rate),
    )
    gamma = inner_learning_rate if mean_learning_rate is None else mean_learning_rate
    return Method(PlatipusLearner(inner, particles, gamma), Elbo(kl_weight, samples), name="platipus")


@explained
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
    """Amortised Bayesian meta-learning: a Gaussian over all of a task's weights.

    Ravi and Beatson (2019), algorithm 1, https://openreview.net/forum?id=rkgpy3C5tX.

    - `model`, `inner_learning_rate`, `inner_steps`, `clip`: as in `bmaml.methods.presets`; the inner loss is that of `maml`.
    - `particles`: weights that adaptation draws.
    - `draws`: draws for the expectation in an inner step.
    - `inner_kl`: weight of the divergence in the inner steps.
    - `kl_weight`: weight of the divergence in the objective; 1 is the bound, in nats a point.
    - `samples`: draws for the expectation in the objective.
    - `hyper_weight`: weight of the log hyper-prior; 1 / number of training tasks for a finite set.
    """
    inner = point_learner(model, inner_learning_rate=inner_learning_rate, inner_steps=inner_steps, clip=clip)
    return Method(AbmlLearner(inner, particles, draws, inner_kl), Elbo(kl_weight, samples, "all", hyper_weight), name="abml")
