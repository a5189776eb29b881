"""Generalised mixed models: what tasks share, how each deviates, and an outcome of any family.

A latent number is a sum of functions of the inputs, with normal coefficients that tasks share or that are a task's own. A
likelihood (`bmaml.likelihoods`) turns the latent number into an outcome. Posteriors are Laplace approximations: a Newton
mode and the curvature there, with their evidence. A new kind of deviation belongs in `scales.py`.
"""

from bmaml.learners.generalised.classes import ClassesLearner, ClassesPosterior
from bmaml.learners.generalised.joint import JointLaplace
from bmaml.learners.generalised.learner import GeneralisedLearner, GeneralisedMeta, GeneralisedPosterior

__all__ = [
    "ClassesLearner",
    "ClassesPosterior",
    "GeneralisedLearner",
    "GeneralisedMeta",
    "GeneralisedPosterior",
    "JointLaplace",
]
