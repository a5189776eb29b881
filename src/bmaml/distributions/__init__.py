"""Predictive distributions: Normal, Student-t, Bernoulli, binomial, negative binomial, Categorical and their mixtures.

Rows are points, and the last axis of a continuous target holds its outputs. `log_prob` is joint over the outputs of a
point, in nats. `cdf`, `survival`, `quantile` and `interval` treat each output separately. All distributions are pytrees, so
`vmap` adds leading axes. A new distribution is one file that subclasses `AbstractDistribution`, `AbstractContinuous` or
`AbstractDiscrete`.
"""

from bmaml.distributions.base import AbstractContinuous as AbstractContinuous
from bmaml.distributions.base import AbstractDistribution as AbstractDistribution
from bmaml.distributions.base import AbstractNumeric as AbstractNumeric
from bmaml.distributions.base import by_rows as by_rows
from bmaml.distributions.base import check_targets as check_targets
from bmaml.distributions.base import interval_tail as interval_tail
from bmaml.distributions.base import split_level as split_level
from bmaml.distributions.base import take_rows as take_rows
from bmaml.distributions.bernoulli import Bernoulli as Bernoulli
from bmaml.distributions.binomial import Binomial as Binomial
from bmaml.distributions.categorical import Categorical as Categorical
from bmaml.distributions.counts import NegativeBinomial as NegativeBinomial
from bmaml.distributions.discrete import AbstractDiscrete as AbstractDiscrete
from bmaml.distributions.divergence import kl_divergence as kl_divergence
from bmaml.distributions.indicators import Indicators as Indicators
from bmaml.distributions.indicators import indicators_of as indicators_of
from bmaml.distributions.limited import Limited as Limited
from bmaml.distributions.log_normal import ShiftedLogNormal as ShiftedLogNormal
from bmaml.distributions.log_normal import exponentiated as exponentiated
from bmaml.distributions.mixtures import AbstractNumericMixture as AbstractNumericMixture
from bmaml.distributions.mixtures import CategoricalMixture as CategoricalMixture
from bmaml.distributions.mixtures import DiscreteMixture as DiscreteMixture
from bmaml.distributions.mixtures import Mixture as Mixture
from bmaml.distributions.mixtures import level_shares as level_shares
from bmaml.distributions.mixtures import mixture as mixture
from bmaml.distributions.noisy import NoisyGamma as NoisyGamma
from bmaml.distributions.noisy import NoisyStudentT as NoisyStudentT
from bmaml.distributions.normal import Normal as Normal
from bmaml.distributions.ordered import Ordered as Ordered
from bmaml.distributions.ordered import between as between
from bmaml.distributions.ordered import log_difference as log_difference
from bmaml.distributions.ordered import of_shares as of_shares
from bmaml.distributions.pool import Pool as Pool
from bmaml.distributions.pool import pooled as pooled
from bmaml.distributions.pool import widened as widened
from bmaml.distributions.shape import Shape as Shape
from bmaml.distributions.shape import has_shape as has_shape
from bmaml.distributions.shape import shaped as shaped
from bmaml.distributions.stretched_counts import less_sure as less_sure
from bmaml.distributions.student import StudentT as StudentT
from bmaml.distributions.transform import around as around
from bmaml.distributions.transform import pit as pit
