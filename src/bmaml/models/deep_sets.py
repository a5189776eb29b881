"""Deep sets: the network of conditional neural processes."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from bmaml.io.registry import register
from bmaml.models.context import AbstractContextNetwork, check_sizes, rows_of
from bmaml.models.network import MLP, Activation


@register("network/deep-sets")
class DeepSets(AbstractContextNetwork):
    """An MLP of each (x, y), averaged over the support; a second MLP of (average, x) answers.

    From Garnelo et al. (2018), section 2.3, https://arxiv.org/abs/1807.01613. Unlike the paper, one learned row r_0 joins the
    average: (r_0 + sum_i r_i) / (1 + n). It is the answer for an empty support, and it lets the network see how many rows there
    were.

    - `inputs`: width of an input row.
    - `width`: width of the hidden layers and of the average.
    - `depth`: hidden layers of each MLP.
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
        check_sizes("DeepSets", inputs=self.inputs, width=self.width, depth=self.depth)

    @property
    def ordered(self):
        return False

    def _mlp(self, inputs: int, outputs: int) -> MLP:
        return MLP((inputs, *(self.width,) * self.depth, outputs), self.activation, "lecun")

    def init(self, key, targets, outputs):
        encoder_key, decoder_key = jax.random.split(key)
        return {
            "encoder": self._mlp(self.inputs + targets, self.width).init(encoder_key),
            "decoder": self._mlp(self.width + self.inputs, outputs).init(decoder_key),
            "prior": jnp.zeros(self.width),
        }

    def read(self, params, x, y, mask):
        rows = rows_of(x, y, mask, self.input_scale)
        each = self._mlp(rows.shape[1], self.width).apply(params["encoder"], rows)
        return (params["prior"] + mask @ each) / (1 + mask.sum())

    def answer(self, params, context, x):
        summary = jnp.broadcast_to(context, (len(x), self.width))
        outputs = params["decoder"][-1]["bias"].shape[0]
        rows = jnp.concatenate([summary, x * self.input_scale], 1)
        return self._mlp(rows.shape[1], outputs).apply(params["decoder"], rows)
