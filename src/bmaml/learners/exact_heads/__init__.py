"""Linear heads whose posterior is exact."""

from bmaml.learners.exact_heads.base import AbstractHead as AbstractHead
from bmaml.learners.exact_heads.base import AbstractHeadPosterior as AbstractHeadPosterior
from bmaml.learners.exact_heads.inverse_gamma import InverseGammaHead as InverseGammaHead
from bmaml.learners.exact_heads.relative import RelativeHead as RelativeHead
