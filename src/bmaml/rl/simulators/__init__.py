"""Environments that other packages simulate.

They run on the host, between compiled programs, or in a JAX simulator such as Brax. Each needs an extra, and imports
its package only when it is used. A new simulator is one file. It subclasses `AbstractWorld`, or builds a
`GymnasiumWorld` from three functions: make an environment, draw a goal, tell the environment its goal. Seeds depend on
key, task, particle and episode, never on how many environments run at once.
"""

from bmaml.rl.simulators.brax import BraxLocomotion as BraxLocomotion
from bmaml.rl.simulators.gymnasium import GymnasiumWorld as GymnasiumWorld
from bmaml.rl.simulators.mujoco import MujocoLocomotion as MujocoLocomotion
