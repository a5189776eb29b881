"""A transformer over the support that answers each query separately: the network of transformer neural processes."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.errors import InputError
from bmaml.io.registry import register
from bmaml.models.context import AbstractContextNetwork, check_sizes, rows_of
from bmaml.models.network import MLP, Activation

Block = dict[str, Any]


class Memory(eqx.Module):
    """What queries attend to: `keys` and `values` of the support in each layer, and `log_mask`, the log of each token's
    weight.
    """

    keys: Float[Array, "layers tokens width"]
    values: Float[Array, "layers tokens width"]
    log_mask: Float[Array, " tokens"]


@register("network/transformer")
class Transformer(AbstractContextNetwork):
    """Pre-norm self-attention over the support's (x, y) tokens; query tokens (x alone) attend to the support only.

    This is the diagonal transformer neural process of Nguyen and Grover (2022), section 3.3, https://arxiv.org/abs/2207.04179.
    One stack of blocks serves support and queries. Keys and values of the support are kept, so an answer needs no second pass
    over the support. Unlike the paper, a learned token always joins the support. An empty support then has something to attend
    to, and attention, which is an average, can tell how many rows there are. There are no positions, so the order of rows never
    matters. A mask weight w multiplies the attention to a row.

    - `inputs`: width of an input row.
    - `width`: width of a token; a multiple of `heads`.
    - `layers`: blocks of the stack.
    - `heads`: attention heads of a block.
    - `expansion`: width of the feed-forward network, as a multiple of `width`.
    - `activation`: name of the activation.
    - `input_scale`: multiplies the inputs.

    Raises: InputError for a size below 1, or if `heads` does not divide `width`.
    """

    inputs: int = eqx.field(static=True, default=1)
    width: int = eqx.field(static=True, default=64)
    layers: int = eqx.field(static=True, default=4)
    heads: int = eqx.field(static=True, default=4)
    expansion: int = eqx.field(static=True, default=2)
    activation: Activation = eqx.field(static=True, default="silu")
    input_scale: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        sizes = {"inputs": self.inputs, "width": self.width, "layers": self.layers}
        check_sizes("Transformer", **sizes, heads=self.heads, expansion=self.expansion)
        if self.width % self.heads:
            raise InputError(f"{self.heads} heads do not divide a width of {self.width}: give a divisor of the width.")

    @property
    def ordered(self):
        return False

    def _embed(self, width: int) -> MLP:
        return MLP((width, self.width, self.width), self.activation, "lecun")

    @property
    def _feed_forward(self) -> MLP:
        return MLP((self.width, self.expansion * self.width, self.width), self.activation, "lecun")

    def _readout(self, outputs: int) -> MLP:
        return MLP((self.width, self.width, outputs), self.activation, "lecun")

    def init(self, key, targets, outputs):
        embed_key, block_key, token_key, readout_key = jax.random.split(key, 4)
        return {
            # One more input than (x, y) says whether y is known.
            "embed": self._embed(self.inputs + targets + 1).init(embed_key),
            "token": jax.random.normal(token_key, (self.width,)),
            "blocks": jax.vmap(self._block)(jax.random.split(block_key, self.layers)),
            "norm": _norm_init(self.width),
            "readout": self._readout(outputs).init(readout_key),
        }

    def _block(self, key: PRNGKeyArray) -> Block:
        keys, lecun = jax.random.split(key, 4), jax.nn.initializers.lecun_normal()
        return {
            "norms": [_norm_init(self.width), _norm_init(self.width)],
            "query": lecun(keys[0], (self.width, self.width)),
            "key_value": lecun(keys[1], (self.width, 2 * self.width)),
            "out": lecun(keys[2], (self.width, self.width)),
            "feed_forward": self._feed_forward.init(keys[3]),
        }

    def read(self, params, x, y, mask):
        rows = rows_of(x, y, mask, self.input_scale)
        rows = jnp.concatenate([rows, jnp.ones_like(mask)[:, None]], 1)
        tokens = self._embed(rows.shape[1]).apply(params["embed"], rows)
        tokens = jnp.concatenate([params["token"][None], tokens])
        log_mask = jnp.concatenate([jnp.zeros_like(mask, shape=1), jnp.log(mask)])

        # A loop over stacked blocks, because four unrolled blocks take four times as long to compile.
        def layer(tokens: Array, block: Block) -> tuple[Array, tuple[Array, Array]]:
            normed = _normalise(block["norms"][0], tokens)
            keys, values = jnp.split(normed @ block["key_value"], 2, axis=1)
            return self._update(block, tokens, normed, keys, values, log_mask), (keys, values)

        return Memory(*jax.lax.scan(layer, tokens, params["blocks"])[1], log_mask)

    def answer(self, params, context, x):
        embed = params["embed"]
        unknown = embed[0]["weight"].shape[0] - self.inputs
        rows = jnp.pad(x * self.input_scale, [(0, 0), (0, unknown)])
        tokens = self._embed(rows.shape[1]).apply(embed, rows)

        def layer(tokens: Array, inside: tuple[Block, Array, Array]) -> tuple[Array, None]:
            block, keys, values = inside
            normed = _normalise(block["norms"][0], tokens)
            return self._update(block, tokens, normed, keys, values, context.log_mask), None

        tokens = jax.lax.scan(layer, tokens, (params["blocks"], context.keys, context.values))[0]
        readout = params["readout"]
        return self._readout(readout[-1]["bias"].shape[0]).apply(readout, _normalise(params["norm"], tokens))

    def _update(self, block: Block, tokens: Array, normed: Array, keys: Array, values: Array, log_mask: Array) -> Array:
        """Return tokens after attention to keys and values, and the feed-forward network."""
        tokens = tokens + self._attend(normed @ block["query"], keys, values, log_mask) @ block["out"]
        return tokens + self._feed_forward.apply(block["feed_forward"], _normalise(block["norms"][1], tokens))

    def _attend(self, queries: Array, keys: Array, values: Array, log_mask: Array) -> Array:
        def split(part: Array) -> Array:
            return part.reshape(len(part), self.heads, -1)

        logits = jnp.einsum("nhd,mhd->hnm", split(queries), split(keys)) * (self.width // self.heads) ** -0.5
        weights = jax.nn.softmax(logits + log_mask[None, None])
        return jnp.einsum("hnm,mhd->nhd", weights, split(values)).reshape(queries.shape)


def _norm_init(width: int) -> dict[str, Array]:
    return {"scale": jnp.ones(width), "shift": jnp.zeros(width)}


def _normalise(params: dict[str, Array], h: Float[Array, "n width"]) -> Float[Array, "n width"]:
    """Layer norm with statistics of each row alone, so nothing leaks between rows."""
    centred = h - h.mean(1, keepdims=True)
    unit = centred * jax.lax.rsqrt((centred**2).mean(1, keepdims=True) + 1e-6)
    return unit * params["scale"][None] + params["shift"][None]
