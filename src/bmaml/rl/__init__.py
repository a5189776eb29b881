"""Policies that adapt: environments, how trajectories are gathered, and how meta-parameters are improved by them."""

from bmaml.rl.adapted_policy import AdaptedPolicy as AdaptedPolicy
from bmaml.rl.environment import AbstractEnvironment as AbstractEnvironment
from bmaml.rl.environment import AbstractWorld as AbstractWorld
from bmaml.rl.environment import check_policy as check_policy
from bmaml.rl.method import PolicyMethod as PolicyMethod
from bmaml.rl.navigation import Navigation as Navigation
from bmaml.rl.outer_steps import AbstractOuterStep as AbstractOuterStep
from bmaml.rl.outer_steps import ClippedSteps as ClippedSteps
from bmaml.rl.outer_steps import GradientStep as GradientStep
from bmaml.rl.sampling import Collected as Collected
from bmaml.rl.sampling import Sampling as Sampling
from bmaml.rl.sampling import collect as collect
from bmaml.rl.trust_region import TrustRegion as TrustRegion
