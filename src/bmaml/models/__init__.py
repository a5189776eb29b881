"""Networks, the likelihoods on top of them, and feature extractors."""

from bmaml.models.context import AbstractContextNetwork as AbstractContextNetwork
from bmaml.models.contract import AbstractModel as AbstractModel
from bmaml.models.contract import CategoricalModel as CategoricalModel
from bmaml.models.contract import GaussianModel as GaussianModel
from bmaml.models.contract import log_likelihood as log_likelihood
from bmaml.models.convnets import Conv4 as Conv4
from bmaml.models.convnets import ResNet12 as ResNet12
from bmaml.models.deep_sets import DeepSets as DeepSets
from bmaml.models.features import AbstractFeatures as AbstractFeatures
from bmaml.models.features import MLPFeatures as MLPFeatures
from bmaml.models.heads import AbstractHead as AbstractHead
from bmaml.models.heads import CategoricalHead as CategoricalHead
from bmaml.models.heads import NormalHead as NormalHead
from bmaml.models.network import MLP as MLP
from bmaml.models.network import AbstractNetwork as AbstractNetwork
from bmaml.models.network import FromEquinox as FromEquinox
from bmaml.models.network import FromFlax as FromFlax
from bmaml.models.network import Functional as Functional
from bmaml.models.policies import GaussianPolicy as GaussianPolicy
from bmaml.models.recurrent import Recurrent as Recurrent
from bmaml.models.surrogates import surrogate as surrogate
from bmaml.models.transformer import Transformer as Transformer
