"""How to score an adaptation."""

from bmaml.objectives.base import AbstractObjective as AbstractObjective
from bmaml.objectives.chaser import ChaserLoss as ChaserLoss
from bmaml.objectives.elbo import Elbo as Elbo
from bmaml.objectives.pooled import PooledLoss as PooledLoss
from bmaml.objectives.query import QueryLoss as QueryLoss
