"""Bayesian meta-learning: learn a prior from many small data sets, adapt to a new one from a handful of points."""

from importlib.metadata import version as _version

from bmaml import images as images
from bmaml import methods as methods
from bmaml import tasks as tasks
from bmaml.classifiers import FewShotClassifier as FewShotClassifier
from bmaml.data import Data as Data
from bmaml.data import Task as Task
from bmaml.errors import InputError as InputError
from bmaml.estimators import FewShotRegressor as FewShotRegressor
from bmaml.evaluation import evaluate as evaluate
from bmaml.methods import Method as Method
from bmaml.outer import Adam as Adam
from bmaml.outer import CustomOuter as CustomOuter
from bmaml.plan import Plan as Plan
from bmaml.run import Run as Run
from bmaml.run import about as about
from bmaml.run import load as load
from bmaml.run import resume as resume
from bmaml.run import train as train
from bmaml.svgd import svgd as svgd
from bmaml.training import NonFiniteError as NonFiniteError

__version__ = _version("bmaml")
