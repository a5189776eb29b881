"""Worlds of control that other packages simulate; each needs an extra, and imports its package when it is used."""

from bmaml.rl.simulators.brax import BraxLocomotion as BraxLocomotion
from bmaml.rl.simulators.gymnasium import GymnasiumWorld as GymnasiumWorld
from bmaml.rl.simulators.mujoco import MujocoLocomotion as MujocoLocomotion
