"""How particles move: by themselves, by Stein's coupling, or with Langevin noise."""

from bmaml.directions.base import AbstractDirection as AbstractDirection
from bmaml.directions.independent import Independent as Independent
from bmaml.directions.langevin import Langevin as Langevin
from bmaml.directions.stein import RBF as RBF
from bmaml.directions.stein import Stein as Stein
