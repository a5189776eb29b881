"""How particles move: each by itself, coupled by Stein's kernel, or with Langevin noise.

A direction turns the gradients of the particles' log densities into the directions in which they move. A new direction
is one file that subclasses `AbstractDirection` in `base.py`. Its result must not depend on the order of the particles,
and a lone particle must work. State the sign (directions go uphill) and the scale in the docstring.
"""

from bmaml.inference.directions.base import AbstractDirection as AbstractDirection
from bmaml.inference.directions.independent import Independent as Independent
from bmaml.inference.directions.langevin import Langevin as Langevin
from bmaml.inference.directions.stein import RBF as RBF
from bmaml.inference.directions.stein import Stein as Stein
