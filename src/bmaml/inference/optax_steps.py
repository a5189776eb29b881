"""Steps of optax. Its code mixes whole numbers and floats, which JAX can be set to refuse."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree


def optax_update(
    rule: optax.GradientTransformation, gradient: PyTree[Any], state: PyTree[Any], params: PyTree[Any] = None
) -> tuple[PyTree[Any], PyTree[Any]]:
    """Return the updates and the next state of an optax `rule`.

    - `gradient`: what the rule descends.
    - `state`: state of the rule.
    - `params`: parameters, for rules that need them (weight decay).
    """
    # A schedule multiplies its rate by the count of steps, and Adam raises a float to the power of that count.
    with jax.numpy_dtype_promotion("standard"):
        return rule.update(gradient, state, params)


def scheduled_rate(schedule: optax.Schedule, step: Array) -> Float[Array, ""]:
    """Return the learning rate of a `schedule` after `step` steps."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.asarray(schedule(step))
