"""Environment steps per second of every installed family, and the share of this time that the policy takes.

Run from this folder: python steps.py --out ../../docs/results/control. Steps are those of whole rollouts by a policy of two
layers of 64. The share is the time of the policy's forward passes and draws alone, on the same number of rows. All times
are processor times, because other programs may run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from bmaml.experiments.numbers import markdown_table
from bmaml.models import MLP, AbstractModel, CategoricalModel, GaussianPolicy
from bmaml.rl import AbstractWorld, Navigation
from bmaml.rl.simulators import BraxLocomotion, GymnasiumWorld, MujocoLocomotion

TASKS, EPISODES = 4, 20


def cartpole(key: jax.Array) -> jax.Array:
    """A pole's length, the goal of a task of CartPole."""
    return jax.random.uniform(key, minval=0.25, maxval=1.0)


def make_cartpole():
    import gymnasium

    return gymnasium.make("CartPole-v1", disable_env_checker=True).unwrapped


def set_length(environment, goal) -> None:
    pole = environment.unwrapped
    pole.length, pole.polemass_length = float(goal), pole.masspole * float(goal)


def families(horizon: int) -> dict[str, tuple[str, Callable[[], AbstractWorld]]]:
    """The package that each family needs, and how to make it."""
    found: dict[str, tuple[str, Callable[[], AbstractWorld]]] = {
        "navigation": ("jax", lambda: Navigation(horizon=horizon)),
        "navigation, discrete": ("jax", lambda: Navigation(discrete=True, horizon=horizon)),
        "Gymnasium CartPole-v1": (
            "gymnasium",
            lambda: GymnasiumWorld(make_cartpole, cartpole, horizon, set_length, 80),
        ),
    }
    for body in ("half-cheetah", "ant"):
        found[f"MuJoCo {body}"] = ("mujoco", lambda b=body: MujocoLocomotion(b, horizon=horizon, at_once=80))
        found[f"Brax {body}, spring"] = ("brax", lambda b=body: BraxLocomotion(b, horizon=horizon))
    return found


def policy_of(world: AbstractWorld) -> AbstractModel:
    network = MLP((world.observations, 64, 64, world.actions), "tanh")
    return CategoricalModel(network) if world.discrete else GaussianPolicy(network, world.actions)


def seconds(run: Callable[[], object], repeats: int = 3) -> float:
    """Least processor time of several runs, after one that compiles."""
    jax.block_until_ready(run())

    def once() -> float:
        spent = time.process_time()
        jax.block_until_ready(run())
        return time.process_time() - spent

    return min(once() for _ in range(repeats))


def measure(world: AbstractWorld) -> dict[str, float]:
    """Steps per second of processor time of rollouts, and the policy's share."""
    policy, key = policy_of(world), jax.random.key(0)
    params = jax.tree.map(lambda leaf: jnp.stack([leaf] * TASKS)[:, None], policy.init(key))
    goals = world.goals(key, TASKS)

    def rollout(params):
        return world.rollout(policy, params, goals, EPISODES, key=key)

    run = jax.jit(rollout) if world.pure else rollout
    alive = float(run(params).alive.sum())
    taken = seconds(lambda: run(params))

    def acting(params, seen):
        def one(seen, key):
            def act(params, seen):
                return policy.predictive(params, seen).sample(key)

            actions = jax.vmap(act)(jax.tree.map(lambda leaf: leaf[:, 0], params), seen)
            # What is seen next depends on what was done, as in a rollout, so that no step is left out.
            return seen + 1e-6 * actions.mean(), None

        return jax.lax.scan(one, seen, jax.random.split(key, world.horizon))[0]

    seen = jnp.zeros((TASKS, EPISODES, world.observations))
    act = jax.jit(acting)
    return {"steps a second": alive / taken, "policy": seconds(lambda: act(params, seen)) / taken}


def markdown(found: dict) -> str:
    rows = []
    for name, row in found["families"].items():
        measured = isinstance(row, dict)
        rows.append([name, *((f"{row['steps a second']:,.0f}", f"{row['policy']:.0%}") if measured else (row, ""))])
    note = f"Rollouts of {TASKS} x {EPISODES} episodes of {found['horizon']} steps, by processor time of one core"
    table = markdown_table(("family", "steps a second", "share in the policy"), rows)
    return "\n".join([table, "", f"{note}; load {found['load']:.1f}.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--horizon", type=int, default=100)
    parser.add_argument("--out", type=Path, help="folder for steps.json and steps.md")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    found = {"horizon": options.horizon, "load": os.getloadavg()[0], "families": {}}
    for name, (package, make) in families(options.horizon).items():
        there = importlib.util.find_spec(package) is not None
        found["families"][name] = measure(make()) if there else f"needs {package}"
        print(name, found["families"][name], flush=True)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "steps.json").write_text(json.dumps(found, indent=1) + "\n")
        (options.out / "steps.md").write_text(markdown(found))


if __name__ == "__main__":
    main()
