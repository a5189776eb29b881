"""Linear heads whose posterior is exact."""

from bmaml.learners.exact_heads.base import AbstractExactHead as AbstractExactHead
from bmaml.learners.exact_heads.base import AbstractExactHeadPosterior as AbstractExactHeadPosterior
from bmaml.learners.exact_heads.inverse_gamma import InverseGammaHead as InverseGammaHead
from bmaml.learners.exact_heads.relative import RelativeHead as RelativeHead
