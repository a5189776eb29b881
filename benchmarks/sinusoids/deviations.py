"""How far each convention moves the meta-gradient of BMAML from that of its authors' code, on their own batch of tasks.

    python benchmarks/sinusoids/deviations.py --out docs/results/sinusoids/deviations.md

The batch, the start of the particles and the gradient of the authors' code are those of `tests/golden/authors`. A number is the
norm of the difference of two gradients over the norm of the authors', for all weights together. The angle says how much of the
difference another step size would take away, which Adam does: it sees no scale.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from bmaml.data import Data, Task
from bmaml.experiments.numbers import markdown_table
from bmaml.inference.adjoints import FirstOrder
from bmaml.inference.directions import RBF, Independent, Stein
from bmaml.inference.priors import AroundInit, FlatPrior, GammaPrior, Particle
from bmaml.io.files import write_atomically
from bmaml.learners import GradientLearner, Sgd
from bmaml.learners.gradient import GradientMeta
from bmaml.methods import as_published
from bmaml.objectives import ChaserLoss

BATCH = Path(__file__).parents[2] / "tests" / "golden" / "authors" / "bmaml.npz"
_ROOT = Stein(RBF(divisor="log(n)"), repulsion=0.5)
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "bandwidth: median / log(M + 1)": ({"direction": Stein(RBF(), 0.5)}, {}),
    "repulsion: the kernel's whole gradient": ({"direction": Stein(_ROOT.kernel, 1.0)}, {}),
    # A particle gives its own gradient a weight of about 1/10, which a shorter step replaces.
    "no coupling and no repulsion": ({"direction": Independent(), "rule": Sgd(1e-4)}, {}),
    "likelihood: a mean over points": ({"fit": "mean"}, {}),
    "weights' prior: none": ({"prior": FlatPrior()}, {}),
    "weights' prior: about the start": ({"prior": AroundInit(1.0)}, {}),
    "noise precision held in the steps": ({"adapt_noise": False}, {}),
    "gradient of the first order": ({"adjoint": FirstOrder()}, {}),
    "precisions in the distance": ({}, {"hyper": True}),
    "distance not squared": ({}, {"squared": False}),
}


def start(arrays: dict[str, np.ndarray]) -> Particle:
    """Return the particles that the authors' code started from."""
    weights = [{"weight": arrays[f"start_w{i}"], "bias": arrays[f"start_b{i}"]} for i in range(1, 5)]
    noise, hyper = (np.ravel(arrays[f"start_log_{name}"]) for name in ("gamma", "lambda"))
    return jax.tree.map(jnp.asarray, Particle({"weights": weights, "log_precision": noise}, {"log_weight_precision": hyper}))


def theirs(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Return the gradient of the authors' code in the weights, as one vector."""
    return ravel([{"weight": arrays[f"gradient_w{i}"], "bias": arrays[f"gradient_b{i}"]} for i in range(1, 5)])


def ravel(tree: Any) -> np.ndarray:
    """Return a tree of arrays as one vector."""
    return np.asarray(ravel_pytree(jax.tree.map(jnp.asarray, tree))[0])


def ours(arrays: dict[str, np.ndarray], learner: GradientLearner, objective: ChaserLoss) -> np.ndarray:
    """Return this library's gradient in the weights, as one vector."""
    mask = jnp.ones(arrays["support_x"].shape[:2])
    tasks = Task(
        *(Data(jnp.asarray(arrays[f"{part}_x"]), jnp.asarray(arrays[f"{part}_y"]), mask) for part in ("support", "query"))
    )

    def loss(particles: Particle) -> jax.Array:
        if not isinstance(learner.prior, GammaPrior):
            particles = Particle(particles.params, None)
        meta = GradientMeta(particles, None)
        return jax.vmap(lambda task: objective.loss(learner, meta, task, key=jax.random.key(0))[0])(tasks).mean()

    return ravel(jax.jit(jax.grad(loss))(start(arrays)).params["weights"])


def main() -> None:
    """Change one convention after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="file for the table")
    options = parser.parse_args()
    arrays = dict(np.load(BATCH))
    published: Any = as_published("bmaml")[0]
    wanted, rows = theirs(arrays), []
    for name, (learner, objective) in CHANGES.items():
        found = ours(
            arrays, dataclasses.replace(published.learner, **learner), dataclasses.replace(published.objective, **objective)
        )
        off = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
        cosine = found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted)
        rows.append((name, f"{off:.2g}", f"{math.degrees(math.acos(min(cosine, 1.0))):.1f}°"))
        print(*rows[-1], flush=True)
    write_atomically(options.out, markdown_table(("changed", "difference", "angle"), rows) + "\n")


if __name__ == "__main__":
    main()
