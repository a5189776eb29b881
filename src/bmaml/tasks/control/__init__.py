"""Tasks of control: families of environments in which a policy acts."""

from bmaml.tasks.control.environment import AbstractEnvironment as AbstractEnvironment
from bmaml.tasks.control.environment import AbstractWorld as AbstractWorld
from bmaml.tasks.control.environment import check_policy as check_policy
from bmaml.tasks.control.navigation import Navigation as Navigation
