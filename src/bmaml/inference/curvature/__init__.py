"""Curvature of a task's log density in the weights: four positive definite forms, and the exact Hessian with a check.

A curvature turns a model, parameters and data into a precision matrix that has `logdet`, `solve` and `sample`. A new
form is one file with two classes: one subclasses `AbstractCurvature`, and its result subclasses `AbstractPrecision`
(both in `base.py`). The form must include the prior, ignore masked rows, and agree with the full form on a linear
model. If a form can be indefinite, it must check itself with `require_definite`.
"""

from bmaml.inference.curvature.base import AbstractCurvature as AbstractCurvature
from bmaml.inference.curvature.base import AbstractPrecision as AbstractPrecision
from bmaml.inference.curvature.base import IndefiniteError as IndefiniteError
from bmaml.inference.curvature.base import require_definite as require_definite
from bmaml.inference.curvature.diagonal import Diagonal as Diagonal
from bmaml.inference.curvature.full import GaussNewton as GaussNewton
from bmaml.inference.curvature.hessian import ExactHessian as ExactHessian
from bmaml.inference.curvature.kronecker import Kronecker as Kronecker
from bmaml.inference.curvature.last_layer import LastLayer as LastLayer
