"""Every kind of learner and every objective, tiny; and the page of the docs that says which of them fit.

`python tests/pairs.py` writes `docs/pairs.md`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cases import CLASSES, EXTRACTOR, FEATURES, MODEL

from bmaml.inference.curvature import GaussNewton, Kronecker
from bmaml.inference.directions import Stein
from bmaml.inference.priors import AroundInit, GammaPrior
from bmaml.learners import (
    AbmlLearner,
    AmortisedLearner,
    ConjugateLearner,
    FeatureLearner,
    GradientLearner,
    Laplace,
    LearnedRates,
    MatchingLearner,
    PlatipusLearner,
    PrototypeLearner,
    RidgeLearner,
    Sgd,
)
from bmaml.learners.wrappers import core
from bmaml.methods import Method
from bmaml.models import CategoricalHead, NormalHead, Transformer
from bmaml.objectives import ChaserLoss, Elbo, EvidenceLoss, LaplaceLoss, PooledLoss, QueryLoss

PAGE = Path(__file__).parents[1] / "docs" / "pairs.md"
SCORES = ("points", "joint", "each", "squared_error")
STEEP = GradientLearner(MODEL, rule=Sgd(1e-3), steps=2, particles=3, fit="mean")

# The kinds of learner that are counted.
LEARNERS = {
    "stein": GradientLearner(MODEL, GammaPrior(), Sgd(1e-3), 2, 3, Stein()),
    "classes": GradientLearner(CLASSES, GammaPrior(), Sgd(0.1), 1, 3, Stein()),
    "exact": ConjugateLearner(FEATURES, particles=3),
    "latent": PlatipusLearner(GradientLearner(MODEL, rule=LearnedRates(1e-2), steps=2, clip=1.0), particles=3),
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
# Further learners, in the docs alone.
MORE = {
    "ABML": AbmlLearner(GradientLearner(MODEL)),
    "Laplace of classes, linear": Laplace(GradientLearner(CLASSES)),
    "neural process of classes": AmortisedLearner(Transformer(1, 8, 2, 2), CategoricalHead(3)),
    "prototypes": FeatureLearner(EXTRACTOR, PrototypeLearner(3)),
    "matching": FeatureLearner(EXTRACTOR, MatchingLearner(3)),
    "ridge heads": FeatureLearner(EXTRACTOR, RidgeLearner(4, 3)),
}
_TITLES = {
    "stein": "gradient steps (Stein particles)",
    "classes": "gradient steps of classes",
    "exact": "exact heads (experts)",
    "latent": "PLATIPUS",
    "amortised": "neural process",
    "laplace": "Laplace around gradient steps",
    "laplace of classes": "Laplace of classes, drawn weights",
}


def why_not(learner, objective):
    """The reason why a pair is refused; None where it is accepted."""
    try:
        Method(learner, objective)
    except (TypeError, ValueError) as error:
        return str(error)
    return None


def to_markdown():
    """The page: a table of the counted kinds, one of further learners, and every reason once."""
    reasons = []

    def cell(learner, objective):
        reason = why_not(learner, objective)
        if reason is None:
            return "yes"
        # The remedy may name the learner's own class: "use Laplace around a GradientLearner".
        why, use = reason.split("; ", 1)
        reason = f"{why.replace(type(core(learner)).__name__, 'this learner')}; {use}"
        if reason not in reasons:
            reasons.append(reason)
        return f"({reasons.index(reason) + 1})"

    def table(learners):
        head = ["objective", *(_TITLES.get(name, name) for name in learners)]
        rows = [[name, *(cell(one, objective) for one in learners.values())] for name, objective in OBJECTIVES.items()]
        return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])

    counted, more = table(LEARNERS), table(MORE)
    accepted = sum(why_not(a, b) is None for a in LEARNERS.values() for b in OBJECTIVES.values())
    total = len(LEARNERS) * len(OBJECTIVES)
    listed = "\n".join(f"{i}. {reason}" for i, reason in enumerate(reasons, 1))
    return f"""# Which learner fits which objective

`python tests/pairs.py` writes this page from the library's own answers. A number in brackets is a refusal, and its reason
is in the list below. Of {total} pairs of a kind of learner and an objective, {accepted} are accepted, and the contract tests
train each of them. `bmaml.Method(learner, objective)` gives the same answers.

{counted}

Further learners, with the same objectives:

{more}

Policies (`PolicyGradientLearner`) take `PolicyLoss` and `ChaserLoss` in a `PolicyMethod`. A learner around another one, such as
`FeatureLearner` or `RecalibratedLearner`, takes what the learner within takes.

## Reasons

{listed}
"""


if __name__ == "__main__":
    PAGE.write_text(to_markdown())
