"""Named methods for policies: each paper is one learner, one objective and one outer step.

All presets share these arguments, and their docstrings explain only the others:

- `model`: the policy.
- `inner_learning_rate`: size of an inner step on the mean surrogate over steps; 0.1 as in MAML's locomotion.
- `inner_steps`: inner steps, each on its own trajectories.
- `surrogate`: what an inner step climbs, see `bmaml.models.surrogates`.
- `sampling`: how trajectories are gathered and weighted.
- `outer`: the outer step.
"""

from __future__ import annotations

import jax

from bmaml.errors import PairError, said
from bmaml.inference.adjoints import FirstOrder
from bmaml.inference.directions import RBF, Stein
from bmaml.learners import AbstractLearner, GradientLearner, LearnedRates, PolicyGradientLearner, Selected, Sgd
from bmaml.models import AbstractModel
from bmaml.models.surrogates import Surrogate
from bmaml.objectives import ChaserLoss, PolicyLoss
from bmaml.rl.method import PolicyMethod
from bmaml.rl.outer_steps import AbstractOuterStep, GradientStep
from bmaml.rl.sampling import Sampling
from bmaml.rl.trust_region import TrustRegion

_SAMPLING, _TRUST = Sampling(), TrustRegion()


def _policies(
    model: AbstractModel, inner_learning_rate: float, inner_steps: int, surrogate: Surrogate, **options
) -> PolicyGradientLearner:
    rule = options.pop("rule", None) or Sgd(inner_learning_rate)
    return PolicyGradientLearner(GradientLearner(model, rule=rule, steps=inner_steps, fit=surrogate, **options))


def _scored(learner: AbstractLearner, sampling: Sampling, outer: AbstractOuterStep, *, name: str) -> PolicyMethod:
    return PolicyMethod(learner, PolicyLoss(), sampling, outer, name=name)


def maml(
    model: AbstractModel,
    *,
    inner_learning_rate: float = 0.1,
    inner_steps: int = 1,
    surrogate: Surrogate = "sum",
    sampling: Sampling = _SAMPLING,
    outer: AbstractOuterStep = _TRUST,
) -> PolicyMethod:
    """MAML for policies: REINFORCE inside, a trust region outside.

    Finn et al. (2017), algorithm 3, https://arxiv.org/abs/1703.03400. With `surrogate="ratio"` and `outer=ClippedSteps()` this
    is the method of Rothfuss et al. (2019), https://arxiv.org/abs/1810.06784, without its penalty. `model`,
    `inner_learning_rate`, `inner_steps` and `sampling` are as in the module's docstring.
    """
    return _scored(_policies(model, inner_learning_rate, inner_steps, surrogate), sampling, outer, name="maml")


def fomaml(
    model: AbstractModel,
    *,
    inner_learning_rate: float = 0.1,
    inner_steps: int = 1,
    sampling: Sampling = _SAMPLING,
    outer: AbstractOuterStep = _TRUST,
) -> PolicyMethod:
    """First-order MAML for policies, which treats inner gradients as constants.

    Finn et al. (2017), section 5.2, https://arxiv.org/abs/1703.03400. `model`, `inner_learning_rate`, `inner_steps`, `sampling`
    and `outer` are as in the module's docstring.
    """
    return _scored(
        _policies(model, inner_learning_rate, inner_steps, "sum", adjoint=FirstOrder()), sampling, outer, name="fomaml"
    )


def anil(
    model: AbstractModel,
    *,
    inner_learning_rate: float = 0.1,
    inner_steps: int = 1,
    surrogate: Surrogate = "sum",
    sampling: Sampling = _SAMPLING,
    outer: AbstractOuterStep = _TRUST,
) -> PolicyMethod:
    """ANIL for policies: MAML whose updates move the network's last layer alone, and the deviation of continuous actions.

    Raghu et al. (2020), section 4.2, https://arxiv.org/abs/1909.09157. `model`, `inner_learning_rate`, `inner_steps`,
    `surrogate`, `sampling` and `outer` are as in the module's docstring.

    Raises: PairError if the network's parameters are not a list of layers.
    """
    rule = Selected(Sgd(inner_learning_rate), _last_layer(model))
    return _scored(_policies(model, inner_learning_rate, inner_steps, surrogate, rule=rule), sampling, outer, name="anil")


def _last_layer(model: AbstractModel) -> tuple[bool, ...]:
    """Return for each array of the policy's parameters whether it lies outside the network's layers before the last one."""
    params = jax.eval_shape(model.init, jax.random.key(0))
    layers = model.weights(params)
    if not isinstance(layers, list):
        raise PairError(
            f"anil needs a network whose parameters are a list of layers because it adapts the last one, and those of "
            f"{type(model).__name__} are {said(layers)}; use an MLP, or maml."
        )
    shared = {id(leaf) for leaf in jax.tree.leaves(layers[:-1])}
    return tuple(id(leaf) not in shared for leaf in jax.tree.leaves(params))


def meta_sgd(
    model: AbstractModel,
    *,
    inner_learning_rate: float = 0.1,
    inner_steps: int = 1,
    surrogate: Surrogate = "sum",
    sampling: Sampling = _SAMPLING,
    outer: AbstractOuterStep = _TRUST,
) -> PolicyMethod:
    """Meta-SGD for policies: MAML with a learned inner rate for every parameter.

    Li et al. (2017), section 4.3, https://arxiv.org/abs/1707.09835. All rates start at `inner_learning_rate`. `model`,
    `inner_steps`, `surrogate`, `sampling` and `outer` are as in the module's docstring.
    """
    return _scored(
        _policies(model, inner_learning_rate, inner_steps, surrogate, rule=LearnedRates(inner_learning_rate)),
        sampling,
        outer,
        name="meta-sgd",
    )


def pretrain(
    model: AbstractModel, *, inner_learning_rate: float = 0.1, sampling: Sampling = _SAMPLING, outer: AbstractOuterStep = _TRUST
) -> PolicyMethod:
    """One policy for all tasks, trained without adaptation.

    Finn et al. (2017), section 5.3, https://arxiv.org/abs/1703.03400. `inner_learning_rate` is that of fine-tuning. `model`,
    `sampling` and `outer` are as in the module's docstring.
    """
    return _scored(_policies(model, inner_learning_rate, 0, "sum"), sampling, outer, name="pretrain")


def emaml(
    model: AbstractModel,
    *,
    particles: int = 5,
    inner_learning_rate: float = 0.1,
    inner_steps: int = 1,
    surrogate: Surrogate = "sum",
    sampling: Sampling = _SAMPLING,
    outer: AbstractOuterStep = _TRUST,
) -> PolicyMethod:
    """An ensemble of independent MAMLs (VPG-TRPO), the baseline of Kim et al. (2018), section 5.3.

    https://arxiv.org/abs/1806.03836. `particles` is their number; 5 as in the paper. `model`, `inner_learning_rate`,
    `inner_steps`, `surrogate`, `sampling` and `outer` are as in the module's docstring.
    """
    return _scored(
        _policies(model, inner_learning_rate, inner_steps, surrogate, particles=particles), sampling, outer, name="emaml"
    )


def _stein(
    model: AbstractModel, particles: int, inner_learning_rate: float, inner_steps: int, surrogate: Surrogate, temperature: float
) -> PolicyGradientLearner:
    # The policy's log density is return / temperature. Multiplying the repulsion by the temperature, at a rate divided by the
    # temperature, is the same.
    direction = Stein(RBF(median="distance"), repulsion=temperature)
    return _policies(model, inner_learning_rate / temperature, inner_steps, surrogate, particles=particles, direction=direction)


def bmaml(
    model: AbstractModel,
    *,
    particles: int = 5,
    inner_learning_rate: float = 0.1,
    inner_steps: int = 1,
    temperature: float = 1.0,
    surrogate: Surrogate = "sum",
    sampling: Sampling = _SAMPLING,
    outer: AbstractOuterStep = _TRUST,
) -> PolicyMethod:
    """BMAML for policies (SVPG-TRPO): particles adapt by Stein variational policy gradient.

    Kim et al. (2018), section 5.3, https://arxiv.org/abs/1806.03836. Each particle theta follows (1 / particles) sum_j
    k(theta_j, theta) grad J(theta_j) / temperature + grad_j k(theta_j, theta): Liu et al. (2017), equation 9,
    https://arxiv.org/abs/1704.02399.

    - `particles`: number of particles.
    - `temperature`: weight of the repulsion against the return.
    - `model`, `inner_learning_rate`, `inner_steps`, `surrogate`, `sampling`, `outer`: as in the module's docstring.
    """
    return _scored(
        _stein(model, particles, inner_learning_rate, inner_steps, surrogate, temperature), sampling, outer, name="bmaml"
    )


def bmaml_chaser(
    model: AbstractModel,
    *,
    particles: int = 5,
    inner_learning_rate: float = 0.1,
    inner_steps: int = 1,
    leader_steps: int = 1,
    temperature: float = 0.1,
    surrogate: Surrogate = "sum",
    sampling: Sampling = _SAMPLING,
) -> PolicyMethod:
    """BMAML for policies with the chaser loss (SVPG-Chaser): the sum of the distances themselves.

    Kim et al. (2018), https://arxiv.org/abs/1806.03836. `leader_steps` is the number of further steps of the leader.
    `particles` and `temperature` are as in `bmaml`. `model`, `inner_learning_rate`, `inner_steps`, `surrogate` and `sampling`
    are as in the module's docstring.
    """
    learner = _stein(model, particles, inner_learning_rate, inner_steps, surrogate, temperature)
    return PolicyMethod(
        learner, ChaserLoss(leader_steps, hyper=True, squared=False), sampling, GradientStep(), name="bmaml-chaser"
    )


def reptile(
    model: AbstractModel,
    *,
    particles: int = 1,
    inner_learning_rate: float = 0.1,
    inner_steps: int = 1,
    sampling: Sampling = _SAMPLING,
) -> PolicyMethod:
    """Reptile for policies; with several `particles` it is VPG-Reptile, the baseline of the chaser in Kim et al. (2018).

    https://arxiv.org/abs/1803.02999. `model`, `inner_learning_rate`, `inner_steps` and `sampling` are as in the module's
    docstring.
    """
    learner = _policies(model, inner_learning_rate, inner_steps, "sum", particles=particles, adjoint=FirstOrder())
    return PolicyMethod(learner, ChaserLoss(0, hyper=True, squared=False), sampling, GradientStep(), name="reptile")
