"""Policies that adapt: how trajectories are gathered, how meta-parameters are improved by them, and the methods of it."""

from bmaml.control.method import PolicyMethod as PolicyMethod
from bmaml.control.outer_steps import AbstractOuterStep as AbstractOuterStep
from bmaml.control.outer_steps import ClippedSteps as ClippedSteps
from bmaml.control.outer_steps import GradientStep as GradientStep
from bmaml.control.policy import AdaptedPolicy as AdaptedPolicy
from bmaml.control.sampling import Gathered as Gathered
from bmaml.control.sampling import Sampling as Sampling
from bmaml.control.sampling import gather as gather
from bmaml.control.trust_region import TrustRegion as TrustRegion
