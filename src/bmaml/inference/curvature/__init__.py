"""Curvature of a task's likelihood in the weights: positive definite by construction, in four forms, or exact and checked."""

from bmaml.inference.curvature.base import AbstractCurvature as AbstractCurvature
from bmaml.inference.curvature.base import AbstractPrecision as AbstractPrecision
from bmaml.inference.curvature.base import IndefiniteError as IndefiniteError
from bmaml.inference.curvature.base import require_definite as require_definite
from bmaml.inference.curvature.diagonal import Diagonal as Diagonal
from bmaml.inference.curvature.full import GaussNewton as GaussNewton
from bmaml.inference.curvature.hessian import ExactHessian as ExactHessian
from bmaml.inference.curvature.kronecker import Kronecker as Kronecker
from bmaml.inference.curvature.last_layer import LastLayer as LastLayer
