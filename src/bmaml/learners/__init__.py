"""How to adapt to a task."""

from bmaml.learners.base import AbstractIterativeLearner as AbstractIterativeLearner
from bmaml.learners.base import AbstractLearner as AbstractLearner
from bmaml.learners.conjugate import ConjugateLearner as ConjugateLearner
from bmaml.learners.gradient import GradientLearner as GradientLearner
from bmaml.learners.laplace import Laplace as Laplace
from bmaml.learners.rules import LearnedRates as LearnedRates
from bmaml.learners.rules import Optax as Optax
from bmaml.learners.rules import Sgd as Sgd
