"""What makes BMAML better than MAML with the papers' settings: one change after another, from MAML to BMAML.

    python benchmarks/sinusoids/ablation.py --out docs/results/sinusoids/ablation.md

Every row is trained on the same fixed tasks of K support and K query points, as in figure 1 of Kim et al. (2018), for the same
meta-steps, and scored on the same new tasks after one inner step. A row has all the changes above it, unless it says otherwise.

- A step of MAML on the mean squared error is 1e-3 in the authors' code. A step of BMAML at its start is as long as one of 0.025
  there: half of gamma = 100, K = 5 points, a rate of 1e-3, and a weight of 1/10 that a particle gives its own gradient.
- BMAML's loss with one particle has the gradient of the log joint density of support and query after the step.

A second call goes on with the rows that the file lacks.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp

import bmaml
from bmaml.evaluation.evaluate import evaluate
from bmaml.experiments.numbers import markdown_table
from bmaml.experiments.training_curves import frozen
from bmaml.inference.directions import Independent
from bmaml.inference.priors import FlatPrior, GammaPrior
from bmaml.io.files import write_atomically
from bmaml.learners import GradientLearner, Sgd
from bmaml.methods import Method, as_published
from bmaml.objectives import ChaserLoss, QueryLoss
from bmaml.tasks import Sinusoids

# gamma / 2 times K times this rate is a step of 0.025 on the mean squared error.
_ALONE = 1e-4


def rows() -> dict[str, Method]:
    """Return the methods of the table by what each changes."""
    published, maml = (as_published(name)[0] for name in ("bmaml", "maml"))
    whole: Any = published.learner
    model = whole.model
    known = GradientLearner(dataclasses.replace(model, known=True), FlatPrior(), Sgd(_ALONE))
    learned = GradientLearner(model, FlatPrior(), Sgd(_ALONE), adapt_noise=False)
    longer: Any = dataclasses.replace(maml.learner, rule=Sgd(0.025))
    moving = dataclasses.replace(learned, adapt_noise=True)
    prior = dataclasses.replace(moving, prior=GammaPrior())
    alone = dataclasses.replace(whole, direction=Independent(), rule=Sgd(_ALONE))
    return {
        "MAML as in the authors' code": maml,
        "steps as long as BMAML's first": Method(longer, QueryLoss("squared_error")),
        "chaser: support and query outside": Method(known, ChaserLoss()),
        "gamma learned, as the length of a step": Method(learned, ChaserLoss()),
        "gamma moves in the steps": Method(moving, ChaserLoss()),
        "prior on weights and gamma": Method(prior, ChaserLoss()),
        "ten such particles, not coupled": Method(alone, ChaserLoss()),
        "BMAML as in the authors' code": published,
    }


def main() -> None:
    """Train and score each row, and write after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="file for the table")
    parser.add_argument("--steps", type=int, default=20_000, help="meta-steps of each row")
    parser.add_argument("--shots", type=int, default=5, help="K")
    parser.add_argument("--tasks", type=int, default=100, help="training tasks")
    parser.add_argument("--count", type=int, default=1000, help="new tasks")
    parser.add_argument("--seed", type=int, default=0, help="seed of the trainings and of their tasks")
    options = parser.parse_args()
    source, new = frozen(options.tasks, options.shots, options.seed), Sinusoids((options.shots,), options.shots)
    plan = dataclasses.replace(as_published("bmaml")[1], steps=options.steps, seed=options.seed)
    head = ("row", "squared error", "NLL", "mean gamma")
    lines = _kept(options.out)
    done = {line[0] for line in lines}
    for name, method in rows().items():
        if name in done:
            continue
        run = bmaml.train(method, source, plan)
        scores = evaluate(run, new, shots=(options.shots,), count=options.count)
        mse, nll = (scores.get(metric, options.shots) for metric in ("mse", "nll"))
        params = run.meta.particles.params
        gamma = "100, known" if "log_precision" not in params else f"{float(jnp.exp(params['log_precision']).mean()):.3g}"
        lines.append((name, f"{mse.mean:.3f} [{mse.low:.3f}, {mse.high:.3f}]", f"{nll.mean:.3g}", gamma))
        print(*lines[-1], flush=True)
        write_atomically(options.out, markdown_table(head, lines) + "\n")


def _kept(path: Path) -> list[tuple[str, ...]]:
    """Return the rows of a table that an earlier call has written."""
    written = path.read_text().splitlines()[2:] if path.exists() else []
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in written if line]


if __name__ == "__main__":
    main()
