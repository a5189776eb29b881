"""Policies that adapt: environments, how trajectories are gathered, and how they improve the meta-parameters.

A policy is a model of actions, trajectories are data weighted by their advantages, and adapting is the same learner as
elsewhere. What is new is here: environments, sampling, advantages and the outer steps. A new environment written in JAX
is one file that subclasses `AbstractEnvironment`. A new outer step subclasses `AbstractOuterStep`. Environments of
other packages belong to `simulators`.
"""

from bmaml.rl.adapted_policy import AdaptedPolicy as AdaptedPolicy
from bmaml.rl.environment import AbstractEnvironment as AbstractEnvironment
from bmaml.rl.environment import AbstractWorld as AbstractWorld
from bmaml.rl.environment import check_policy as check_policy
from bmaml.rl.method import PolicyMethod as PolicyMethod
from bmaml.rl.navigation import Navigation as Navigation
from bmaml.rl.outer_steps import AbstractOuterStep as AbstractOuterStep
from bmaml.rl.outer_steps import ClippedSteps as ClippedSteps
from bmaml.rl.outer_steps import GradientStep as GradientStep
from bmaml.rl.rows import POLICY_METHODS as POLICY_METHODS
from bmaml.rl.sampling import Collected as Collected
from bmaml.rl.sampling import Sampling as Sampling
from bmaml.rl.sampling import collect as collect
from bmaml.rl.trust_region import TrustRegion as TrustRegion
