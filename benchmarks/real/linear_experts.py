"""Experts that are linear maps of a known basis: with exact heads they are a mixture of Gaussians over its coefficients."""

from __future__ import annotations

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bmaml.models.features import AbstractFeatures


class AbstractBasis(eqx.Module):
    """Fixed functions of the input whose weighted sum is a task's function."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of basis functions."""

    @abstractmethod
    def __call__(self, x: Float[Array, "n inputs"]) -> Float[Array, "n size"]:
        """Return the basis functions at each row."""


class Harmonics(AbstractBasis):
    """cos(speed_i t), then sin(speed_i t), of one input t, and optionally a constant as the last function.

    `speeds` are in radians for a unit of t.
    """

    speeds: tuple[float, ...] = eqx.field(static=True, converter=lambda s: tuple(float(v) for v in s))
    constant: bool = eqx.field(static=True, default=True)

    @property
    def size(self):
        return 2 * len(self.speeds) + int(self.constant)

    def __call__(self, x):
        angle = x * jnp.asarray(self.speeds, x.dtype)[None]
        columns = [jnp.cos(angle), jnp.sin(angle)] + [jnp.ones_like(x)] * self.constant
        return jnp.concatenate(columns, 1)


class LinearExperts(AbstractFeatures):
    """Features that are linear in a basis, by a map which is the expert's own code.

    Under an exact head with weights N(m, S), expert z says that the basis coefficients are N(L m, L S L^T), where L
    `(size, rank)` is exp(params) times the rows of z, reshaped. So a learner's experts are a mixture of Gaussians over the
    coefficients, and adapting is exact conditioning of it. A full `rank` (the default) can stand for any covariance. The
    shared parameters are the log scale of each basis function, so that codes of order one suit coefficients of any size.
    Raises: ValueError for a rank outside 1 to the size of the basis.
    """

    basis: AbstractBasis
    rank: int = eqx.field(static=True)

    def __init__(self, basis: AbstractBasis, rank: int | None = None):
        self.basis = basis
        self.rank = basis.size if rank is None else rank
        if not 1 <= self.rank <= basis.size:
            raise ValueError(f"rank is {rank}: give 1 to {basis.size}, the size of the basis.")

    @property
    def count(self):
        return self.rank

    @property
    def code_size(self):
        return self.basis.size * self.rank

    def init(self, key):
        return jnp.zeros(self.basis.size)

    def apply(self, params, x, code):
        features = (self.basis(x) * jnp.exp(params)[None]) @ code.reshape(self.basis.size, self.rank)
        return features, jnp.zeros(len(x), features.dtype)

    def codes(self, params: Float[Array, " size"], maps: Float[Array, "experts size rank"]) -> Float[Array, "experts code"]:
        """Return the codes that, with these shared parameters, stand for the maps L of experts."""
        return jax.vmap(jnp.ravel)(maps * jnp.exp(-params)[None, :, None])
