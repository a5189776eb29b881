"""How to score an adaptation.

An objective maps a learner, meta-parameters and one task to a loss and to numbers worth logging. A new objective is one
file that subclasses `AbstractObjective` in `base.py`. It says which ability of a learner it needs (`learners/base.py`),
and why learners without the ability do not fit. The docstring states the scale: sum or mean, over points or tasks, in
nats or squared units. A row in the table of `rows.py` gives an objective a name for `bmaml train --objective NAME`. A
program adds a row with `add`, and an installed package by an entry point of the group `bmaml.objectives`.
"""

from bmaml.objectives.base import AbstractObjective as AbstractObjective
from bmaml.objectives.chaser import ChaserLoss as ChaserLoss
from bmaml.objectives.elbo import Elbo as Elbo
from bmaml.objectives.laplace import EvidenceLoss as EvidenceLoss
from bmaml.objectives.laplace import LaplaceLoss as LaplaceLoss
from bmaml.objectives.policy import PolicyLoss as PolicyLoss
from bmaml.objectives.pooled import PooledLoss as PooledLoss
from bmaml.objectives.query import QueryLoss as QueryLoss
from bmaml.objectives.rows import OBJECTIVES as OBJECTIVES
from bmaml.objectives.rows import ObjectiveSpec as ObjectiveSpec
from bmaml.objectives.rows import add as add
