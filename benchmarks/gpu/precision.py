"""How exact float32 products are at each precision that JAX offers, and what a product and an exact head lose by it.

It prints JSON. On a CPU all precisions are the same.
"""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np

from bmaml.data import Data
from bmaml.methods import experts
from bmaml.models import MLPFeatures

PRECISIONS = ("default", "high", "highest", "bfloat16")


def product(precision: str) -> float:
    """Return the largest error of a product of normal matrices, as a share of its deviation."""
    a, b = (np.random.default_rng(seed).normal(size=(512, 512)).astype(np.float32) for seed in (0, 1))
    exact = a.astype(np.float64) @ b.astype(np.float64)
    with jax.default_matmul_precision(precision):
        found = np.asarray(jax.jit(jnp.matmul)(a, b), np.float64)
    return float(np.abs(found - exact).max() / exact.std())


def head(precision: str) -> tuple[float, float]:
    """Return mean and deviation that experts with 1,024 codes predict for a task of ten points, at one further point."""
    learner = experts(MLPFeatures(1), particles=1024).learner
    x = np.linspace(-2, 2, 10, dtype=np.float32)[:, None]
    given = Data(jnp.asarray(x), jnp.asarray(np.sin(2 * x)), jnp.ones(10))
    with jax.default_matmul_precision(precision):
        meta = learner.init(jax.random.key(0))
        answer = jax.jit(lambda: learner.adapt(meta, given, key=jax.random.key(1)).predict(jnp.array([[0.3]])))()
    return float(answer.mean[0, 0]), float(answer.std[0, 0])


def main() -> None:
    print(json.dumps({each: {"product": product(each), "head": head(each)} for each in PRECISIONS}))


if __name__ == "__main__":
    main()
