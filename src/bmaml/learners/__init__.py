"""How to adapt to a task.

A learner maps meta-parameters and a support to a posterior. A new learner is one file that subclasses `AbstractLearner`
in `base.py`: it has `init(key)` and `adapt(meta, support, key=key)`. Each further abstract class there is an ability, and
objectives ask for abilities, never for classes. Subclass `AbstractIterativeLearner` if the learner takes steps that can
be continued, `AbstractLatentLearner` if it has a latent variable, `AbstractEvidenceLearner` if it knows the evidence of
its data, and `AbstractWrapper` if it wraps another learner. Meta-parameters are an argument, never a field. Masked rows
and the order of rows must not change the answer, and an empty support must have one. The contract tests check this. The
Bayes-optimal predictor and MCMC are learners too, so they are scored like all others.
"""

from bmaml.learners.abml import AbmlLearner as AbmlLearner
from bmaml.learners.amortised import AmortisedLearner as AmortisedLearner
from bmaml.learners.base import AbstractClassLearner as AbstractClassLearner
from bmaml.learners.base import AbstractCurvedLearner as AbstractCurvedLearner
from bmaml.learners.base import AbstractDrawingLearner as AbstractDrawingLearner
from bmaml.learners.base import AbstractEvidenceLearner as AbstractEvidenceLearner
from bmaml.learners.base import AbstractIterativeLearner as AbstractIterativeLearner
from bmaml.learners.base import AbstractLatentLearner as AbstractLatentLearner
from bmaml.learners.base import AbstractLearner as AbstractLearner
from bmaml.learners.base import AbstractLimitedLearner as AbstractLimitedLearner
from bmaml.learners.base import AbstractParticleLearner as AbstractParticleLearner
from bmaml.learners.base import AbstractPolicyLearner as AbstractPolicyLearner
from bmaml.learners.base import AbstractWrapper as AbstractWrapper
from bmaml.learners.conjugate import ConjugateLearner as ConjugateLearner
from bmaml.learners.features import FeatureLearner as FeatureLearner
from bmaml.learners.gradient import GradientLearner as GradientLearner
from bmaml.learners.laplace import Laplace as Laplace
from bmaml.learners.matching import MatchingLearner as MatchingLearner
from bmaml.learners.noise import ResidualNoise as ResidualNoise
from bmaml.learners.platipus import PlatipusLearner as PlatipusLearner
from bmaml.learners.policy_gradient import PolicyGradientLearner as PolicyGradientLearner
from bmaml.learners.prototypes import PrototypeLearner as PrototypeLearner
from bmaml.learners.recalibrated import RecalibratedLearner as RecalibratedLearner
from bmaml.learners.ridge import RidgeLearner as RidgeLearner
from bmaml.learners.rules import LearnedRates as LearnedRates
from bmaml.learners.rules import Optax as Optax
from bmaml.learners.rules import Selected as Selected
from bmaml.learners.rules import Sgd as Sgd
