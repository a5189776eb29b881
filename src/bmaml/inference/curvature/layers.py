"""What curvatures by layer need from a model: that its network is an MLP."""

from __future__ import annotations

from bmaml.errors import PairError
from bmaml.models.base import AbstractModel, CategoricalModel, GaussianModel
from bmaml.models.network import MLP


def layered(model: AbstractModel, who: str) -> MLP:
    """Return the MLP of `model`.

    Raises: PairError if there is none; the message says that `who` needs it.
    """
    if isinstance(model, GaussianModel | CategoricalModel) and isinstance(model.network, MLP):
        return model.network
    inside = type(getattr(model, "network", model)).__name__
    raise PairError(
        f"{who} needs an MLP because it must know the layers, which {inside} does not show; use GaussNewton or Diagonal."
    )
