"""Linear heads whose posterior is exact."""

from bmaml.learners.heads.base import AbstractHead as AbstractHead
from bmaml.learners.heads.base import AbstractHeadPosterior as AbstractHeadPosterior
from bmaml.learners.heads.inverse_gamma import InverseGammaHead as InverseGammaHead
from bmaml.learners.heads.relative import RelativeHead as RelativeHead
