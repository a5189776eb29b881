"""A gated recurrent unit that reads the support row by row: the memory learner."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from bmaml.io.registry import register
from bmaml.models.context import AbstractContextNetwork, check_sizes, rows_of
from bmaml.models.network import MLP, Activation


@register("network/recurrent")
class Recurrent(AbstractContextNetwork):
    """A GRU over the support's (x, y) rows; an MLP of (last state, x) answers.

    Learning to learn with a recurrent memory follows Hochreiter et al. (2001), https://doi.org/10.1007/3-540-44668-0_13, and
    Santoro et al. (2016), https://arxiv.org/abs/1605.06065. The gates are those of Cho et al. (2014),
    https://arxiv.org/abs/1406.1078. The state depends on the order of the rows (`ordered` is True), which suits rows that come
    in time. If rows are a set, training on random orders makes the state nearly independent of the order. A row moves the state
    in proportion to its mask.

    - `inputs`: width of an input row.
    - `width`: width of the state and of the hidden layers.
    - `depth`: hidden layers of the MLP.
    - `activation`: name of the activation.
    - `input_scale`: multiplies the inputs.

    Raises: InputError for a size below 1.
    """

    inputs: int = eqx.field(static=True, default=1)
    width: int = eqx.field(static=True, default=128)
    depth: int = eqx.field(static=True, default=2)
    activation: Activation = eqx.field(static=True, default="silu")
    input_scale: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        check_sizes("Recurrent", inputs=self.inputs, width=self.width, depth=self.depth)

    @property
    def ordered(self):
        return True

    def _embed(self, inputs: int) -> MLP:
        return MLP((inputs, self.width, 3 * self.width), self.activation, "lecun")

    def _decoder(self, outputs: int) -> MLP:
        return MLP((self.width + self.inputs, *(self.width,) * self.depth, outputs), self.activation, "lecun")

    def init(self, key, targets, outputs):
        embed_key, state_key, decoder_key = jax.random.split(key, 3)
        return {
            "embed": self._embed(self.inputs + targets).init(embed_key),
            "state": jax.nn.initializers.lecun_normal()(state_key, (self.width, 3 * self.width)),
            "start": jnp.zeros(self.width),
            "decoder": self._decoder(outputs).init(decoder_key),
        }

    def read(self, params, x, y, mask):
        rows = rows_of(x, y, mask, self.input_scale)
        gates = self._embed(rows.shape[1]).apply(params["embed"], rows)

        def step(state: Array, row: tuple[Array, Array]) -> tuple[Array, None]:
            gate, weight = row
            moved = _gru(params["state"], state, gate)
            return state + weight * (moved - state), None

        return jax.lax.scan(step, params["start"], (gates, mask))[0]

    def answer(self, params, context, x):
        state = jnp.broadcast_to(context, (len(x), self.width))
        outputs = params["decoder"][-1]["bias"].shape[0]
        return self._decoder(outputs).apply(params["decoder"], jnp.concatenate([state, x * self.input_scale], 1))


def _gru(weight: Array, state: Array, gates: Array) -> Array:
    """Return the next state from the last `state` and the row's part of the three gates."""
    reset_x, update_x, new_x = jnp.split(gates, 3)
    reset_h, update_h, new_h = jnp.split(state @ weight, 3)
    update = jax.nn.sigmoid(update_x + update_h)
    new = jnp.tanh(new_x + jax.nn.sigmoid(reset_x + reset_h) * new_h)
    return update * state + (1 - update) * new
