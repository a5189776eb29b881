"""How to score an adaptation."""

from bmaml.objectives.base import AbstractObjective as AbstractObjective
from bmaml.objectives.chaser import ChaserLoss as ChaserLoss
from bmaml.objectives.elbo import Elbo as Elbo
from bmaml.objectives.laplace import EvidenceLoss as EvidenceLoss
from bmaml.objectives.laplace import LaplaceLoss as LaplaceLoss
from bmaml.objectives.policy import PolicyLoss as PolicyLoss
from bmaml.objectives.pooled import PooledLoss as PooledLoss
from bmaml.objectives.query import QueryLoss as QueryLoss
