"""Bayesian meta-learning: learn a prior from many small data sets, adapt to a new one from a handful of points."""

from importlib.metadata import version as _version

from bmaml import images as images
from bmaml import methods as methods
from bmaml import rl as rl
from bmaml import tasks as tasks
from bmaml.data import Data as Data
from bmaml.data import Task as Task
from bmaml.errors import BmamlError as BmamlError
from bmaml.errors import InputError as InputError
from bmaml.errors import LostProcessError as LostProcessError
from bmaml.errors import PairError as PairError
from bmaml.estimators.classifier import FewShotClassifier as FewShotClassifier
from bmaml.estimators.regressor import FewShotRegressor as FewShotRegressor
from bmaml.estimators.table_classifier import FewShotTableClassifier as FewShotTableClassifier
from bmaml.evaluation.evaluate import evaluate as evaluate
from bmaml.inference.svgd import svgd as svgd
from bmaml.io.registry import register as register
from bmaml.learners.predictor import Predictor as Predictor
from bmaml.methods import Method as Method
from bmaml.methods.citations import cite as cite
from bmaml.training.callbacks import Callback as Callback
from bmaml.training.callbacks import CallbackError as CallbackError
from bmaml.training.early_stopping import EarlyStopping as EarlyStopping
from bmaml.training.loop import NonFiniteError as NonFiniteError
from bmaml.training.optimisers import Adam as Adam
from bmaml.training.optimisers import CustomOuter as CustomOuter
from bmaml.training.plan import Plan as Plan
from bmaml.training.processes import distributed as distributed
from bmaml.training.run import Interrupted as Interrupted
from bmaml.training.run import Run as Run
from bmaml.training.run import about as about
from bmaml.training.run import load as load
from bmaml.training.run import resume as resume
from bmaml.training.run import train as train

__version__ = _version("bmaml")
