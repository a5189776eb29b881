"""Half-cheetah direction on Gymnasium's MuJoCo at a reduced size: train one seed, or score what was trained.

python half_cheetah.py train --seed 0 --out runs      one seed; the same command continues an interrupted run
python half_cheetah.py score --out runs               mean return before and after one update in each direction, every seed
python half_cheetah.py film --seed 0 --out runs       a GIF of the policy before and after one update, in both directions

This needs the extra `mujoco`. The method is Meta-SGD with the settings of the family half-cheetah-direction at a reduced
size: both directions in each meta-step, and episodes of 200 steps. MAML's own size (500 meta-steps of 40 tasks) would take
days on two cores.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

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
from bmaml.rl.simulators.mujoco import make
from bmaml.training.progress import BarProgress

FAMILY, METHOD = "half-cheetah-direction", "meta-sgd"
TASKS, STEPS = 2, 200
EVALUATED = 4  # times the family's 20 episodes, in each direction
# Of a picture: pixels, and the metres that its width shows.
SIZE, METRES, COLOUR = (300, 170), 5.0, "#0072B2"


def world() -> AbstractWorld:
    return build_world(FAMILY, horizon=STEPS)


def train(folder: Path, seed: int, iterations: int) -> None:
    """Train one seed, or go on with it."""
    progress = BarProgress(f"{METHOD}, seed {seed}")
    if (folder / "run.json").exists():
        bmaml.resume(folder, progress=progress)
        return
    method = build_policy_method(METHOD, FAMILY, world())
    plan = build_policy_plan(FAMILY, steps=iterations, batch=TASKS, seed=seed)
    about = {"kind": "control", "tasks": FAMILY, "method": METHOD}
    bmaml.train(method, world(), plan, directory=folder, save_every=5, about=about, progress=progress)


def trained(folder: Path) -> tuple[bmaml.Run, PolicyMethod]:
    """A seed's run and its method."""
    run = bmaml.load(folder)
    assert isinstance(run.method, PolicyMethod)
    return run, run.method


def score(folder: Path) -> dict[str, object]:
    """Mean returns of a seed: forwards and backwards, before an update and after it."""
    run, method = trained(folder)
    goals, key = jnp.asarray([1.0, -1.0] * EVALUATED), jax.random.key(1)
    found = collect(world(), method.policies, method.sampling, run.meta, goals, 1, key=key)
    returns = np.asarray(found.returns)[..., 0]
    ways = {"forwards": returns[:, ::2], "backwards": returns[:, 1::2]}
    scores = {way: {"before": float(r[0].mean()), "after": float(r[1].mean())} for way, r in ways.items()}
    return {"seed": folder.name, "iterations": run.step, **scores}


def shapes(policy: AdaptedPolicy, goal: float) -> list[np.ndarray]:
    """Every second step of an episode seen from the side: each limb's two ends and half its width, (limbs, 5), in metres."""
    environment = make("half-cheetah", "direction", goal)
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


def film(folder: Path, path: Path) -> None:
    """Draw four episodes at once: before an update above after it, told to run forwards beside backwards."""
    (run, method), home = trained(folder), world()
    fresh, episodes = run.adapt([]), []
    for goal, way in ((1.0, "forwards"), (-1.0, "backwards")):
        adapted = run.adapt(fresh.collect(home, goal, method.sampling.episodes))
        for when, policy in enumerate((fresh, adapted)):
            title = f"{way}, {('before', 'after one update')[when]}"
            episodes.append([picture(limbs, title) for limbs in shapes(policy, goal)])
    pictures = []
    for before, after, other_before, other_after in zip(*episodes, strict=True):
        rows = [np.hstack([before, other_before]), np.hstack([after, other_after])]
        pictures.append(Image.fromarray(np.vstack(rows)).quantize(16))
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100, loop=0, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("train", "score", "film"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=150)
    options = parser.parse_args()
    if options.what == "train":
        train(options.out / f"seed{options.seed}", options.seed, options.iterations)
        return
    if options.what == "film":
        film(options.out / f"seed{options.seed}", options.out / "half-cheetah.gif")
        return
    scores = [score(folder) for folder in sorted(options.out.glob("seed*"))]
    write_atomically(options.out / "half-cheetah.json", json.dumps(scores, indent=1))
    for one in scores:
        print(json.dumps(one))


if __name__ == "__main__":
    main()
