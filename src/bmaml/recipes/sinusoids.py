"""What sinusoid families offer to make a method from."""

from __future__ import annotations

from bmaml.methods.made_of import Offer
from bmaml.models import MLP, GaussianModel, MLPFeatures
from bmaml.tasks import TaskSpec


def sinusoid_offer(family: TaskSpec) -> Offer:
    """Return the networks of a sinusoid `family`.

    With ReLU, the papers' choice, errors are up to twice as large as with tanh. With ReLU, more inner steps than in training
    also make adaptation diverge. Networks that read their support multiply inputs by 2. With 0.4, the experts' scale, they need
    many times the meta-steps to separate frequencies.
    """

    def model(precision: float | None) -> GaussianModel:
        return GaussianModel(MLP((1, *family.hidden, 1), "tanh"), precision=1.0 if precision is None else precision)

    def features() -> MLPFeatures:
        return MLPFeatures(1, learned=10, code=1, input_scale=family.input_scale)

    reading = {"input_scale": 2.0, "output_scale": 2.5}
    return Offer(1, 1, model, features, settings={"inner_steps": family.inner_steps, "clip": family.clip} | reading)
