"""Networks, the likelihoods on top of them, and feature extractors."""

from bmaml.models.contract import AbstractModel as AbstractModel
from bmaml.models.contract import CategoricalModel as CategoricalModel
from bmaml.models.contract import GaussianModel as GaussianModel
from bmaml.models.contract import log_likelihood as log_likelihood
from bmaml.models.features import AbstractFeatures as AbstractFeatures
from bmaml.models.features import MLPFeatures as MLPFeatures
from bmaml.models.network import MLP as MLP
from bmaml.models.network import AbstractNetwork as AbstractNetwork
from bmaml.models.network import FromEquinox as FromEquinox
from bmaml.models.network import FromFlax as FromFlax
from bmaml.models.network import Functional as Functional
