"""Half-cheetah direction and velocity on Gymnasium's MuJoCo at a reduced size: train one seed, or score what was trained.

python half_cheetah.py train --seed 0 --out runs      one seed; the same command continues an interrupted run
python half_cheetah.py score --out runs               mean return before and after one update for two kinds of goals, every seed
python half_cheetah.py film --seed 0 --out runs       a GIF of the policy before and after one update, for two goals

`--task velocity` is that other family. This needs the extra `mujoco`. The method is Meta-SGD with the settings of the family at
a reduced size: both directions or ten velocities in each meta-step, and episodes of 200 steps. MAML's own size (500 meta-steps
of 40 tasks) would take days on two cores.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from PIL import Image, ImageDraw

import bmaml
from bmaml.io.files import write_atomically
from bmaml.rl import AbstractWorld, AdaptedPolicy, PolicyMethod, collect
from bmaml.rl.recipes import build_policy_method, build_policy_plan, build_world
from bmaml.rl.simulators.locomotion import Kind
from bmaml.rl.simulators.mujoco import make
from bmaml.training.progress import BarProgress

METHOD, STEPS = "meta-sgd", 200


class Setting(NamedTuple):
    """What a family is trained and judged by.

    - `tasks`: tasks of a meta-step.
    - `scored`: goals of the family's 20 episodes each, by what scores call them.
    - `shown`: two goals of the picture by their titles.
    """

    tasks: int
    scored: dict[str, tuple[float, ...]]
    shown: dict[str, float]


SETTINGS: dict[Kind, Setting] = {
    "direction": Setting(2, {"forwards": (1.0,) * 4, "backwards": (-1.0,) * 4}, {"forwards": 1.0, "backwards": -1.0}),
    "velocity": Setting(
        10,
        {"below 1 m/s": (0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95)}
        | {"above 1 m/s": (1.05, 1.15, 1.25, 1.35, 1.45, 1.55, 1.65, 1.75, 1.85, 1.95)},
        {"0.3 m/s": 0.3, "1.8 m/s": 1.8},
    ),
}
# Of a picture: pixels, and the metres that its width shows.
SIZE, METRES, COLOUR = (300, 170), 5.0, "#0072B2"


def family(task: Kind) -> str:
    return f"half-cheetah-{task}"


def world(task: Kind) -> AbstractWorld:
    return build_world(family(task), horizon=STEPS)


def train(folder: Path, task: Kind, seed: int, iterations: int) -> None:
    """Train one seed, or go on with it."""
    progress = BarProgress(f"{METHOD}, seed {seed}")
    if (folder / "run.json").exists():
        bmaml.resume(folder, progress=progress)
        return
    method = build_policy_method(METHOD, family(task), world(task))
    plan = build_policy_plan(family(task), steps=iterations, batch=SETTINGS[task].tasks, seed=seed)
    about = {"kind": "control", "tasks": family(task), "method": METHOD}
    bmaml.train(method, world(task), plan, directory=folder, save_every=5, about=about, progress=progress)


def trained(folder: Path) -> tuple[bmaml.Run, PolicyMethod]:
    """A seed's run and its method."""
    run = bmaml.load(folder)
    assert isinstance(run.method, PolicyMethod)
    return run, run.method


def score(folder: Path, task: Kind) -> dict[str, object]:
    """Mean returns of a seed for each kind of goals, before an update and after it."""
    run, method = trained(folder)
    named = [(name, goal) for name, goals in SETTINGS[task].scored.items() for goal in goals]
    goals, key = jnp.asarray([goal for _, goal in named]), jax.random.key(1)
    found = collect(world(task), method.policies, method.sampling, run.meta, goals, 1, key=key)
    returns = np.asarray(found.returns)[..., 0]
    scores = {}
    for name in SETTINGS[task].scored:
        own = returns[:, np.array([other == name for other, _ in named])]
        scores[name] = {"before": float(own[0].mean()), "after": float(own[1].mean())}
    return {"seed": folder.name, "iterations": run.step, **scores}


def shapes(policy: AdaptedPolicy, task: Kind, goal: float) -> list[np.ndarray]:
    """Every second step of an episode seen from the side: each limb's two ends and half its width, (limbs, 5), in metres."""
    environment = make("half-cheetah", task, goal)
    seen, _ = environment.reset(seed=0)
    body, now = environment.unwrapped.model, environment.unwrapped.data
    limbs = np.flatnonzero(body.geom_type == mujoco.mjtGeom.mjGEOM_CAPSULE)
    radius, half = body.geom_size[limbs, 0], body.geom_size[limbs, 1]
    act, taken = eqx.filter_jit(policy.act), []
    for step in range(STEPS):
        seen = environment.step(np.clip(np.asarray(act(seen)), -1, 1))[0]
        if step % 2:
            middle, along = now.geom_xpos[limbs], now.geom_xmat[limbs].reshape(-1, 3, 3)[:, :, 2] * half[:, None]
            taken.append(np.column_stack([(middle - along)[:, ::2], (middle + along)[:, ::2], radius]))
    environment.close()
    return taken


def picture(limbs: np.ndarray, title: str) -> Image.Image:
    """Draw a body on a ground marked every metre; the eye follows the body."""
    image = Image.new("RGB", SIZE, "white")
    draw, middle, floor = ImageDraw.Draw(image), limbs[:, (0, 2)].mean(), SIZE[1] - 24
    width = SIZE[0] / METRES

    def at(x: float, z: float) -> tuple[float, float]:
        return SIZE[0] / 2 + (x - middle) * width, floor - z * width

    draw.line((0, floor, SIZE[0], floor), "black")
    for metre in range(int(middle - METRES), int(middle + METRES) + 1):
        draw.line((*at(metre, 0), *at(metre, -0.08)), "black")
        draw.text((at(metre, 0)[0] + 3, floor + 6), f"{metre} m", "black")
    for x, z, end_x, end_z, radius in limbs:
        (left, top), (right, bottom), r = at(x, z), at(end_x, end_z), radius * width
        draw.line((left, top, right, bottom), COLOUR, round(2 * r))
        for u, v in ((left, top), (right, bottom)):
            draw.ellipse((u - r, v - r, u + r, v + r), COLOUR)
    draw.text((6, 4), title, "black")
    return image


def film(folder: Path, task: Kind, path: Path) -> None:
    """Draw four episodes at once: before an update above after it, one goal beside the other."""
    (run, method), home = trained(folder), world(task)
    fresh, episodes = run.adapt([]), []
    for name, goal in SETTINGS[task].shown.items():
        adapted = run.adapt(fresh.collect(home, goal, method.sampling.episodes))
        for when, policy in enumerate((fresh, adapted)):
            title = f"{name}, {('before', 'after one update')[when]}"
            episodes.append([picture(limbs, title) for limbs in shapes(policy, task, goal)])
    pictures = []
    for before, after, other_before, other_after in zip(*episodes, strict=True):
        rows = [np.hstack([before, other_before]), np.hstack([after, other_after])]
        pictures.append(Image.fromarray(np.vstack(rows)).quantize(16))
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100, loop=0, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("train", "score", "film"))
    parser.add_argument("--task", choices=SETTINGS, default="direction")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=150)
    options = parser.parse_args()
    name = "half-cheetah" if options.task == "direction" else "half-cheetah-velocity"
    if options.what == "train":
        train(options.out / f"seed{options.seed}", options.task, options.seed, options.iterations)
        return
    if options.what == "film":
        film(options.out / f"seed{options.seed}", options.task, options.out / f"{name}.gif")
        return
    scores = [score(folder, options.task) for folder in sorted(options.out.glob("seed*"))]
    write_atomically(options.out / f"{name}.json", json.dumps(scores, indent=1))
    for one in scores:
        print(json.dumps(one))


if __name__ == "__main__":
    main()
