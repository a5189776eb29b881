"""Methods with a feature extractor that tasks and particles share, above all those of few-shot classes.

`extractor` is always the shared network, and `model` a linear head on its features with a likelihood.
"""

from __future__ import annotations

from bmaml.inference.priors import AbstractPrior, GaussianPrior
from bmaml.learners.features import FeatureLearner
from bmaml.learners.matching import MatchingLearner
from bmaml.learners.prototypes import Distance, PrototypeLearner
from bmaml.learners.ridge import RidgeLearner
from bmaml.methods.arguments import explained
from bmaml.methods.base import Method
from bmaml.methods.presets import bfa, bmaml, emaml, maml
from bmaml.models import AbstractModel, AbstractNetwork
from bmaml.objectives import QueryLoss

_NORMAL = GaussianPrior()


def shared(extractor: AbstractNetwork, method: Method, *, name: str | None = None) -> Method:
    """Put a meta-learned extractor in front of any method: adaptation, particles and all then see features alone.

    The method keeps its `name` unless it is given another.
    """
    answering = None if method.answering is None else FeatureLearner(extractor, method.answering)
    return Method(FeatureLearner(extractor, method.learner), method.objective, answering, name=name or method.name)


@explained
def protonet(
    extractor: AbstractNetwork, classes: int, *, distance: Distance = "euclidean", scale: float = 1.0, learn_scale: bool = True
) -> Method:
    """Prototypical networks.

    Snell et al. (2017), algorithm 1, https://arxiv.org/abs/1703.05175.

    - `extractor`: the shared network.
    - `classes`: number of classes of a training episode.
    - `distance`: `"euclidean"` or `"cosine"`.
    - `scale`: start of the inverse temperature; 1 in the paper.
    - `learn_scale`: whether the scale is learned; not in the paper.
    """
    learner = PrototypeLearner(classes, distance, scale, learn_scale)
    return Method(FeatureLearner(extractor, learner), QueryLoss("points"), name="protonet")


@explained
def matching(
    extractor: AbstractNetwork, classes: int, *, scale: float = 10.0, background: float = 0.0, learn_scale: bool = True
) -> Method:
    """Matching networks without full-context embeddings.

    Vinyals et al. (2016), equation 1, https://arxiv.org/abs/1606.04080.

    - `extractor`, `classes`: as in `protonet`.
    - `scale`: start of attention's inverse temperature; 1 in the paper.
    - `background`: start of the logit of the row that stands for all classes.
    - `learn_scale`: whether scale and background are learned.
    """
    learner = MatchingLearner(classes, scale, background, learn_scale)
    return Method(FeatureLearner(extractor, learner), QueryLoss("points"), name="matching")


@explained
def ridge(
    extractor: AbstractNetwork,
    width: int,
    classes: int,
    *,
    particles: int = 1,
    noise: float = 0.1,
    scale: float = 10.0,
    uncertainty: bool = True,
) -> Method:
    """Exact ridge regression to the classes.

    Bertinetto et al. (2019), https://arxiv.org/abs/1805.08136.

    - `extractor`: the shared network.
    - `width`: number of its outputs.
    - `classes`: number of classes of a training episode.
    - `particles`: number of heads.
    - `noise`: start of the noise variance.
    - `scale`: start of the logits' scale.
    - `uncertainty`: whether the posterior variance of a head flattens its odds. False is R2-D2, the paper's method.
    """
    learner = RidgeLearner(width, classes, particles, noise, scale, uncertainty)
    return Method(FeatureLearner(extractor, learner), QueryLoss("points"), name="ridge")


@explained
def anil(
    extractor: AbstractNetwork,
    model: AbstractModel,
    *,
    inner_learning_rate: float = 0.1,
    inner_steps: int = 5,
    clip: float | None = None,
) -> Method:
    """ANIL: MAML of the head alone, with an extractor that all tasks share.

    Raghu et al. (2020), https://arxiv.org/abs/1909.09157. `extractor` is the shared network. `model`, `inner_learning_rate`,
    `inner_steps` and `clip` are as in `maml`.
    """
    return shared(
        extractor, maml(model, inner_learning_rate=inner_learning_rate, inner_steps=inner_steps, clip=clip), name="anil"
    )


@explained
def shared_emaml(
    extractor: AbstractNetwork,
    model: AbstractModel,
    *,
    particles: int = 10,
    inner_learning_rate: float = 0.1,
    inner_steps: int = 5,
    clip: float | None = None,
) -> Method:
    """An ensemble of heads on one extractor, the baseline of Kim et al. (2018), section 5.2.

    https://arxiv.org/abs/1806.03836. `extractor` is the shared network. `model`, `particles`, `inner_learning_rate`,
    `inner_steps` and `clip` are as in `emaml`.
    """
    return shared(
        extractor,
        emaml(model, particles=particles, inner_learning_rate=inner_learning_rate, inner_steps=inner_steps, clip=clip),
        name="shared-emaml",
    )


@explained
def shared_bfa(
    extractor: AbstractNetwork,
    model: AbstractModel,
    *,
    particles: int = 10,
    inner_learning_rate: float = 0.1,
    inner_steps: int = 5,
    clip: float | None = None,
    prior: AbstractPrior = _NORMAL,
) -> Method:
    """Bayesian fast adaptation with Stein particles of heads on one extractor.

    Kim et al. (2018), algorithm 2, section 5.2, https://arxiv.org/abs/1806.03836. `extractor` is the shared network. `prior` is
    N(0, 1) by default (see `shared_bmaml`). `model`, `particles`, `inner_learning_rate`, `inner_steps` and `clip` are as in
    `bfa`.
    """
    return shared(
        extractor,
        bfa(
            model, particles=particles, inner_learning_rate=inner_learning_rate, inner_steps=inner_steps, clip=clip, prior=prior
        ),
        name="shared-bfa",
    )


@explained
def shared_bmaml(
    extractor: AbstractNetwork,
    model: AbstractModel,
    *,
    particles: int = 10,
    inner_learning_rate: float = 0.1,
    inner_steps: int = 5,
    leader_steps: int = 1,
    clip: float | None = None,
    prior: AbstractPrior = _NORMAL,
) -> Method:
    """Bayesian MAML as on the paper's images: particles of heads on one extractor.

    Kim et al. (2018), section 5.2, https://arxiv.org/abs/1806.03836. `extractor` is the shared network. `prior` is N(0, 1) by
    default: with the Gamma hyper-prior, one step moves the precision of a few hundred weights so far that the next step
    diverges. `model`, `particles`, `inner_learning_rate`, `inner_steps`, `leader_steps` and `clip` are as in `bmaml`.
    """
    inner = bmaml(
        model,
        particles=particles,
        inner_learning_rate=inner_learning_rate,
        inner_steps=inner_steps,
        leader_steps=leader_steps,
        clip=clip,
        prior=prior,
    )
    return shared(extractor, inner, name="shared-bmaml")
