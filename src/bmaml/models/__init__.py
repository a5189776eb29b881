"""Networks and the likelihoods on top of them.

A network maps parameters and inputs to outputs. A model adds the distribution of a target: it has `init(key)` and
`predictive(params, x)`. Parameters may be any pytree, so plain functions, Equinox and Flax networks all work. A new
network is one file that subclasses `AbstractNetwork`, `AbstractFeatures` or `AbstractContextNetwork`. A new likelihood
subclasses `AbstractModel`. Models know nothing of tasks or learners. Log-likelihoods are sums over points, in nats.
"""

from bmaml.models.base import AbstractModel as AbstractModel
from bmaml.models.base import CategoricalModel as CategoricalModel
from bmaml.models.base import GaussianModel as GaussianModel
from bmaml.models.base import log_likelihood as log_likelihood
from bmaml.models.context import AbstractContextNetwork as AbstractContextNetwork
from bmaml.models.convnets import Conv4 as Conv4
from bmaml.models.convnets import ResNet12 as ResNet12
from bmaml.models.deep_sets import DeepSets as DeepSets
from bmaml.models.features import AbstractFeatures as AbstractFeatures
from bmaml.models.features import MLPFeatures as MLPFeatures
from bmaml.models.network import MLP as MLP
from bmaml.models.network import AbstractNetwork as AbstractNetwork
from bmaml.models.network import FromEquinox as FromEquinox
from bmaml.models.network import FromFlax as FromFlax
from bmaml.models.network import FromNnx as FromNnx
from bmaml.models.network import Functional as Functional
from bmaml.models.policies import GaussianPolicy as GaussianPolicy
from bmaml.models.recurrent import Recurrent as Recurrent
from bmaml.models.surrogates import surrogate as surrogate
from bmaml.models.target_heads import AbstractTargetHead as AbstractTargetHead
from bmaml.models.target_heads import CategoricalHead as CategoricalHead
from bmaml.models.target_heads import NormalHead as NormalHead
from bmaml.models.transformer import Transformer as Transformer
from bmaml.models.waves import WaveFeatures as WaveFeatures
