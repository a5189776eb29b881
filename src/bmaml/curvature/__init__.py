"""Curvature of a task's likelihood in the weights: positive definite by construction, in four forms, or exact and checked."""

from bmaml.curvature.base import AbstractCurvature as AbstractCurvature
from bmaml.curvature.base import AbstractPrecision as AbstractPrecision
from bmaml.curvature.base import IndefiniteError as IndefiniteError
from bmaml.curvature.base import require_definite as require_definite
from bmaml.curvature.diagonal import Diagonal as Diagonal
from bmaml.curvature.full import GaussNewton as GaussNewton
from bmaml.curvature.hessian import ExactHessian as ExactHessian
from bmaml.curvature.kronecker import Kronecker as Kronecker
from bmaml.curvature.last_layer import LastLayer as LastLayer
