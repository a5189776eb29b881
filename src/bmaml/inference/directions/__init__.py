"""How particles move: by themselves, by Stein's coupling, or with Langevin noise."""

from bmaml.inference.directions.base import AbstractDirection as AbstractDirection
from bmaml.inference.directions.independent import Independent as Independent
from bmaml.inference.directions.langevin import Langevin as Langevin
from bmaml.inference.directions.stein import RBF as RBF
from bmaml.inference.directions.stein import Stein as Stein
