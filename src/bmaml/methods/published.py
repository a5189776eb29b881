"""Methods as their papers' authors run them, each on the sinusoids of its paper.

The numbers are those of the authors' code where it is public, and of the paper otherwise. `docs/lecture/deviations.md` names
the source of each, and says where no number was published.
"""

from __future__ import annotations

from typing import Any

from bmaml.inference.curvature import Kronecker
from bmaml.inference.directions import RBF, Stein
from bmaml.methods.spec import Tuned
from bmaml.models import MLP
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan


def _kim(precision: float = 1.0, **settings: Any) -> Tuned:
    """Kim et al. (2018): a rate that falls by 0.98 over each hundredth of the run, and 10 tasks in a meta-step for all."""
    own = {"inner_learning_rate": 1e-3, "inner_steps": 1, "clip": None} | settings
    plan = Plan(100_000, 10, Adam(1e-3, decay="exponential"))
    return Tuned(own, plan, precision, network=MLP((1, 40, 40, 40, 1), "relu"))


def _finn(precision: float = 1.0, **settings: Any) -> Tuned:
    """Finn et al. (2017): 25 tasks in a meta-step, and a rate that stays."""
    own = {"inner_learning_rate": 0.01, "inner_steps": 1, "clip": None} | settings
    return Tuned(own, Plan(70_000, 25, Adam(1e-3, decay="none")), precision, network=MLP((1, 40, 40, 1), "relu"))


BMAML = {
    "sinusoid": _kim(100.0, particles=10, leader_steps=1, noise="gamma", direction=Stein(RBF(divisor="log(n)"), repulsion=0.5))
}
EMAML = {"sinusoid": _kim(particles=10)}
# On the sinusoids of Kim et al. (2018), MAML is their code's EMAML with one particle.
MAML = {"sinusoid": _kim(), "maml-sinusoid": _finn()}
# Grant et al. (2018) publish eta and the form of the curvature. All else is MAML's. With ten given points a precision of 0.2
# makes a step on the sum in nats as long as MAML's step on the mean squared error.
ML_LAPLACE = {"maml-sinusoid": _finn(0.2, eta=1e-6, curvature=Kronecker())}
# Finn et al. (2018) publish no table. The inner steps and the start of the means' rates are those of a public implementation.
PLATIPUS = {"ambiguous": _finn(particles=10, inner_learning_rate=1e-3, inner_steps=5, mean_learning_rate=0.01)}
