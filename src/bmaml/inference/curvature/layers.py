"""What curvatures by layer need of a model: that its network is an MLP."""

from __future__ import annotations

from bmaml.errors import PairError
from bmaml.models.base import AbstractModel, CategoricalModel, GaussianModel
from bmaml.models.network import MLP


def layered(model: AbstractModel, who: str) -> MLP:
    """Return the model's MLP.

    Raises: PairError naming `who` asks where there is none.
    """
    if isinstance(model, GaussianModel | CategoricalModel) and isinstance(model.network, MLP):
        return model.network
    inside = type(getattr(model, "network", model)).__name__
    raise PairError(
        f"{who} needs an MLP because it must know the layers, which {inside} does not show; use GaussNewton or Diagonal."
    )
