"""Task families and methods by name, with settings that work: what the command line trains."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax

from bmaml.errors import InputError
from bmaml.learners.exact_heads import RelativeHead
from bmaml.learners.resized import EXPERTS
from bmaml.methods import AMORTISED, METHODS, REGRESSION, Method
from bmaml.models import MLP, GaussianModel, MLPFeatures
from bmaml.recipes.lookup import check_settings, pick
from bmaml.tasks import AbstractTasks, Sinusoids, ambiguous, maml_sinusoids
from bmaml.training.optimisers import Muon
from bmaml.training.plan import Plan


class Family(eqx.Module):
    """A task family: how to make it, the network that its paper uses, the shots, inner steps and inner clip to train with.

    `judged` are the shots that a leaderboard scores it at.
    """

    build: Callable[..., Sinusoids] = eqx.field(static=True)
    hidden: tuple[int, ...] = eqx.field(static=True)
    shots: tuple[int, ...] = eqx.field(static=True)
    judged: tuple[int, ...] = eqx.field(static=True, default=(5, 10))
    inner_steps: int = eqx.field(static=True, default=5)
    clip: float | None = eqx.field(static=True, default=10.0)
    input_scale: float = eqx.field(static=True, default=0.4)


FAMILIES: dict[str, Family] = {
    "sinusoid": Family(Sinusoids, (40, 40, 40), (3, 5, 10), (3, 5, 10, 20)),
    "maml-sinusoid": Family(maml_sinusoids, (40, 40), (5, 10), inner_steps=1, clip=None),
    "ambiguous": Family(ambiguous, (40, 40), (5, 10)),
}

# Step sizes found by benchmarks/sinusoids/tune.py. Where no steps or clip are given they are the family's.
_SETTINGS: dict[str, dict[str, Any]] = {
    "maml": {"inner_learning_rate": 0.01},
    "fomaml": {"inner_learning_rate": 0.01},
    "meta-sgd": {"inner_learning_rate": 3e-3},
    "reptile": {"inner_learning_rate": 0.01, "inner_steps": 5, "clip": 10.0},
    "emaml": {"inner_learning_rate": 0.01},
    "imaml": {"inner_learning_rate": 0.01, "inner_steps": 16, "proximal_strength": 20.0, "clip": 10.0},
    "ml-point": {"inner_learning_rate": 0.01, "inner_steps": 5, "clip": 10.0},
    "ml-laplace": {"inner_learning_rate": 0.03, "inner_steps": 5, "clip": 10.0},
    "bfa": {"inner_learning_rate": 3e-3, "clip": 1e3},
    "bmaml": {"inner_learning_rate": 3e-4, "clip": 1e3},
    "pretrain": {"inner_learning_rate": 0.01, "inner_steps": 10, "clip": 10.0},
    "platipus": {"inner_learning_rate": 0.03, "inner_steps": 1},
    # The bound itself, a weight of 1, holds thousands of parameters to the prior against some twenty points.
    "abml": {"inner_learning_rate": 0.01, "inner_steps": 5, "clip": 10.0, "kl_weight": 1e-4},
}
# Experts that go on once a support has been seen, in training: one in sixteen leaves gradients true, if not exact.
_KEPT = 16
# Networks that read their support: input_scale 0.4 needs many times the meta-steps of 2.0 to tell frequencies apart.
_AMORTISED = {"cnp": 20_000, "tnp": 50_000, "rnn": 20_000}


def build_tasks(
    name: str,
    *,
    shots: tuple[int, ...] | None = None,
    queries: int = 20,
    count: int | None = None,
    samples: int = 40,
    seed: int = 0,
) -> AbstractTasks:
    """Return a family's task source; with `count` a finite set of that many tasks of `samples` fixed points each.

    Raises: InputError for an unknown family, or shots that leave no point of a fixed task to ask for.
    """
    family = pick("task family", name, FAMILIES)
    tasks = family.build(shots or family.shots, queries)
    if count is None:
        return tasks
    if max(tasks.shots) >= samples:
        raise InputError(
            f"{max(tasks.shots)} shots leave nothing of {samples} samples to ask for: use fewer shots or more samples."
        )
    return tasks.fixed(count, samples, jax.random.key(seed))


def build_method(name: str, family: str = "sinusoid", **settings: Any) -> Method:
    """Return a method for a family with the settings found for it, changed by those of `settings` that are not None.

    Raises: InputError for an unknown name or a setting that the method does not have.
    """
    make, home = pick("method", name, {known: METHODS[known] for known in REGRESSION}), pick("task family", family, FAMILIES)
    chosen = {k: v for k, v in settings.items() if v is not None}
    check_settings(name, chosen, inspect.signature(make).parameters)
    if name == "experts":
        features = MLPFeatures(1, learned=10, code=1, input_scale=home.input_scale)
        particles = chosen.get("particles", EXPERTS)
        found = {
            "particles": particles,
            "codes": "drawn",
            "learn_weights": True,
            "head": RelativeHead(),
            "evidence": 0.01,
            "kept": min(1.0, _KEPT / particles),
        }
        return make(features, **{**found, **chosen})
    if name in AMORTISED:
        return make(1, 1, **{"input_scale": 2.0, "output_scale": 2.5, **chosen})
    # Point methods learn their noise by its likelihood alone, from 1; Stein particles start where the authors' code does.
    # With ReLU, the papers' choice, errors are up to twice as large, and more inner steps than were trained with diverge.
    model = GaussianModel(MLP((1, *home.hidden, 1), "tanh"), precision=100.0 if name in ("bfa", "bmaml") else 1.0)
    return make(model, **{"inner_steps": home.inner_steps, "clip": home.clip, **_SETTINGS.get(name, {}), **chosen})


def build_plan(name: str, *, steps: int | None = None, seed: int = 0, **settings: Any) -> Plan:
    """Return how to train a method on a sinusoid family.

    The default is 25,000 meta-steps for experts, 20,000 to 50,000 for networks that read their support, 10,000 for others.
    """
    chosen = {k: v for k, v in settings.items() if v is not None}
    if name == "experts":
        plan = Plan(steps or 25_000, 16, Muon(2e-2, adam_learning_rate=3e-2, clip=1.0), seed, accumulation_steps=4)
    elif name in AMORTISED:
        plan = Plan(steps or _AMORTISED[name], 16, Muon(1e-2, clip=1.0), seed)
    else:
        batch = 10 if "particles" in inspect.signature(METHODS[name]).parameters else 25
        plan = Plan(steps or 10_000, batch, Muon(1e-2, clip=1.0), seed)
    return dataclasses.replace(plan, **_fitting(plan, chosen))


def _fitting(plan: Plan, chosen: dict[str, Any]) -> dict[str, Any]:
    """Add the groups that a changed meta-batch can be worked off in."""
    batch = chosen.get("batch", plan.batch)
    return {"accumulation_steps": math.gcd(plan.accumulation_steps, batch), **chosen}
