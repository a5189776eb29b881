"""Linear heads whose posterior is exact.

A head says which prior the weights and the noise of a linear model have. `ConjugateLearner` puts such a head on learned
features. A new head is one file that subclasses `AbstractExactHead` in `base.py`. It needs the log evidence of a
support and the predictive distribution, both in closed form, and both must ignore masked rows.
"""

from bmaml.learners.exact_heads.base import AbstractExactHead as AbstractExactHead
from bmaml.learners.exact_heads.base import AbstractExactHeadPosterior as AbstractExactHeadPosterior
from bmaml.learners.exact_heads.inverse_gamma import InverseGammaHead as InverseGammaHead
from bmaml.learners.exact_heads.relative import RelativeHead as RelativeHead
