"""The least time a meta-iteration could take: its matrix products at the machine's own matrix rate.

Only matrix products count, with 2 FLOPs for a multiply-add. For one row, a layer of w weights costs 2 w for each product.
The list gives products for each layer; the number after the comma is for the first layer, whose inputs are data:

- acting: 1, 1 a row;
- the inner gradient: 3, 2 a row of the support; going back through it, or its tangent, or that transposed: 6, 2;
- the surrogate's gradient: 3, 2 a row of the query, and back through the adaptation;
- a Fisher product J^T H J v, with J linearised once: 2, 1 a row of the query forwards and as many back, and the
  adaptation's tangent and its transpose. There are as many products as conjugate gradient steps (they also give v^T F v of
  the result);
- one trial of the line search: the adaptation, and 1, 1 a row of the query.

The FLOPs are those of the mathematics in this form. A program may do more, and double backward does.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import navigation

sys.path.append(str(Path(__file__).parent.parent / "speed"))

Products = tuple[int, int]
ACTING, INNER, THROUGH, FORWARD, PUSH = (1, 1), (3, 2), (6, 2), (1, 1), (2, 1)


def _cost(products: Products, times: float = 1) -> float:
    first, *rest = [i * o for i, o in pairwise(navigation.SIZES)]
    return 2 * times * (products[0] * sum(rest) + products[1] * first)


def meta_flops(fisher_share: float = 1.0) -> float:
    """FLOPs of one meta-iteration; `fisher_share` is the share of the rows that the Fisher products take."""
    rows = navigation.TASKS * navigation.TRAJECTORIES * navigation.STEPS
    gather = 2 * _cost(ACTING) + _cost(INNER)
    gradient = _cost(INNER) + _cost(THROUGH)
    product = 2 * (_cost(THROUGH) + _cost(PUSH))
    trial = _cost(INNER) + _cost(FORWARD)
    return rows * (gather + gradient + navigation.CG_STEPS * fisher_share * product + trial)


if __name__ == "__main__":
    from flops import matrix_rate

    rate = matrix_rate()
    print(f"float32 matrix product: {rate / 1e9:.0f} GFLOP/s; {meta_flops() / 1e9:.0f} GFLOP a meta-iteration")
    print(f"at least {meta_flops() / rate:.2f} s")
