"""The least time a meta-step could take: its matrix products at the machine's own matrix rate.

Only matrix products count, with 2 FLOPs for a multiply-add. For n points, a layer with w weights costs 2 n w for each
product:

- a gradient of the loss is 3 products for each layer (forward, to the weights, to the inputs), and 2 for the first layer;
- going back through that gradient is 2 more for each, except where an input is data: 6 a layer, and 2 for the first layer.

A meta-step of MAML is both of these on the support and a gradient on the query. A meta-step of BMAML is, for each particle,
both on the support (the follower) and a gradient on support and query (the leader, stopped). The products of Stein's
direction are added, each 2 M^2 P for M particles of P parameters. For each task these are the follower's mix of scores with
its two in the backward pass, and the leader's distances and mix. Once for each meta-step they are the distances of the
common start, and back, 3 in all. The FLOPs are those of the mathematics: a program may do more.
"""

from __future__ import annotations

import time
from itertools import pairwise

import jax
import jax.numpy as jnp
from sizes import BMAML_SIZES, MAML_SIZES


def _products(sizes: tuple[int, ...], first: int, rest: int) -> int:
    """FLOPs for one point when the first layer takes part in `first` products and each other layer in `rest`."""
    weights = [i * o for i, o in pairwise(sizes)]
    return 2 * (first * weights[0] + rest * sum(weights[1:]))


def maml_flops(tasks: int = 10, support: int = 10, query: int = 10, sizes: tuple[int, ...] = MAML_SIZES) -> int:
    """FLOPs of one second-order MAML meta-step with one inner step."""
    return tasks * (support * _products(sizes, 4, 9) + query * _products(sizes, 2, 3))


def bmaml_flops(
    particles: int = 10, tasks: int = 10, support: int = 5, query: int = 5, sizes: tuple[int, ...] = BMAML_SIZES
) -> int:
    """FLOPs of one BMAML meta-step with one follower and one leader step."""
    network = support * _products(sizes, 4, 9) + (support + query) * _products(sizes, 2, 3)
    parameters = sum(i * o + o for i, o in pairwise(sizes)) + 2
    stein = 2 * particles**2 * parameters
    return tasks * (particles * network + 5 * stein) + 3 * stein


def matrix_rate(size: int = 2048, repeats: int = 5) -> float:
    """Best measured float32 rate in FLOP/s of a square matrix product through JAX."""
    a = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(jnp.matmul)
    product(a, a).block_until_ready()
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        product(a, a).block_until_ready()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


if __name__ == "__main__":
    rate = matrix_rate()
    print(f"float32 matrix product: {rate / 1e9:.0f} GFLOP/s")
    for name, count in (("maml", maml_flops()), ("bmaml", bmaml_flops())):
        print(f"{name}: {count / 1e6:.1f} MFLOP a meta-step, at least {count / rate * 1e6:.0f} us")
