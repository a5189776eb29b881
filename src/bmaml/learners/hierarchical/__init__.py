"""Hierarchical Gaussian models: the mixed model of statistics, and a Gaussian process for each task.

All tasks share a mean function, each task deviates from it, and measurements have noise. Everything is Gaussian given a few
scales, so adapting is exact. The scales are few, and what is not known of them after training is carried by draws. A new
kind of deviation belongs in `scales.py`.
"""

from bmaml.learners.hierarchical.basis import Basis, Knots, fit_basis
from bmaml.learners.hierarchical.correlated import CorrelatedLearner, CorrelatedMeta, CorrelatedPosterior
from bmaml.learners.hierarchical.learner import HierarchicalLearner, HierarchicalMeta, HierarchicalPosterior

__all__ = [
    "Basis",
    "CorrelatedLearner",
    "CorrelatedMeta",
    "CorrelatedPosterior",
    "HierarchicalLearner",
    "HierarchicalMeta",
    "HierarchicalPosterior",
    "Knots",
    "fit_basis",
]
