"""How to adapt to a task."""

from bmaml.learners.abml import AbmlLearner as AbmlLearner
from bmaml.learners.amortised import AmortisedLearner as AmortisedLearner
from bmaml.learners.base import AbstractIterativeLearner as AbstractIterativeLearner
from bmaml.learners.base import AbstractLatentLearner as AbstractLatentLearner
from bmaml.learners.base import AbstractLearner as AbstractLearner
from bmaml.learners.conjugate import ConjugateLearner as ConjugateLearner
from bmaml.learners.features import FeatureLearner as FeatureLearner
from bmaml.learners.gradient import GradientLearner as GradientLearner
from bmaml.learners.laplace import Laplace as Laplace
from bmaml.learners.matching import MatchingLearner as MatchingLearner
from bmaml.learners.platipus import PlatipusLearner as PlatipusLearner
from bmaml.learners.prototypes import PrototypeLearner as PrototypeLearner
from bmaml.learners.ridge import RidgeLearner as RidgeLearner
from bmaml.learners.rules import LearnedRates as LearnedRates
from bmaml.learners.rules import Optax as Optax
from bmaml.learners.rules import Sgd as Sgd
