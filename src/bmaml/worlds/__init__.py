"""Worlds of control that other packages simulate; each needs an extra, and imports its package when it is used."""

from bmaml.worlds.brax_world import BraxLocomotion as BraxLocomotion
from bmaml.worlds.gym_world import GymnasiumWorld as GymnasiumWorld
from bmaml.worlds.mujoco_world import MujocoLocomotion as MujocoLocomotion
