"""Accuracy on Omniglot's background set: one method trained by its recipe, judged on alphabets that it has not seen.

Run from this folder: python omniglot.py --data images_background.zip --method protonet. Alphabets 1 to 25, sorted by name,
train and the last five are judged, turned characters are classes of their own, episodes draw from all alphabets; 600 of
them at 1 shot. Methods of closed form are judged at 5 and at 20 ways, others at the way they were trained for.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

import jax
import numpy as np

from bmaml.images import ImageSet, read_images, split_images
from bmaml.methods import CLOSED_FORM
from bmaml.metrics import bootstrap_calibration, classification_scores, interval
from bmaml.outer import AbstractOuter
from bmaml.recipes_images import RECIPES, build_image_method, build_image_plan, build_image_tasks, for_way
from bmaml.training import Loop


def judged(name: str, loop: Loop, test: ImageSet, way: int, episodes: int) -> dict[str, list[float]]:
    """Scores on new episodes of so many ways: means and their 95% intervals; the same episodes for every method and seed."""
    learner = for_way(name, loop.method, way).learner
    source = test.episodes(way, 1, 15 if way < 20 else 5, rotations=True)

    @jax.jit
    def scores(meta, keys):
        def one(key):
            task = source.sample(key)
            predictive = learner.adapt(meta, task.support, key=key).predict(task.query.x)
            return classification_scores(predictive, task.query, task.query.y, key=key)

        return jax.lax.map(one, keys)

    found = {
        metric: np.asarray(v) for metric, v in scores(loop.state.meta, jax.random.split(jax.random.key(0), episodes)).items()
    }
    rows = {metric: list(interval(found[metric])) for metric in ("accuracy", "nll", "brier")}
    return rows | {"calibration": list(bootstrap_calibration(found) or ())}


def trained(name: str, train: ImageSet, options: argparse.Namespace) -> Loop:
    """The method after its recipe's meta-steps, or until the time is over."""
    settings = json.loads(options.settings)
    method = build_image_method(name, train.shape, options.way, **settings)
    plan = build_image_plan(name, steps=options.steps, seed=options.seed)
    if options.outer_rate is not None:
        outer: AbstractOuter = dataclasses.replace(plan.outer, rate=options.outer_rate)
        plan = dataclasses.replace(plan, outer=outer)
    loop = Loop(method, build_image_tasks(name, train, options.way, rotations=True), plan)
    loop.compile()
    while loop.step < plan.steps:
        record = loop.advance(min(options.every, plan.steps - loop.step))
        clock = f"{time.process_time():.0f} s of processor time"
        print(f"step {loop.step}/{plan.steps}: loss {record['loss']:.4f}, {clock}", flush=True)
    return loop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="images_background as a zip or folder")
    parser.add_argument("--method", choices=tuple(RECIPES), default="protonet")
    parser.add_argument("--way", type=int, default=5)
    parser.add_argument("--steps", type=int, help="meta-steps (default: the recipe's)")
    parser.add_argument("--every", type=int, default=50, help="meta-steps between two lines of output")
    parser.add_argument("--outer-rate", type=float, help="outer rate (default: the recipe's)")
    parser.add_argument("--settings", default="{}", help="JSON of the method's settings, and of filters")
    parser.add_argument("--episodes", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder of the cache of decoded images")
    parser.add_argument("--out", type=Path, help="file that gets one more line of JSON")
    options = parser.parse_args()
    split = split_images(read_images(options.data, cache=options.cache), "alphabets")
    loop = trained(options.method, split.train, options)
    found = {"method": options.method, "seed": options.seed, "steps": loop.plan.steps, "settings": options.settings}
    found["processor_seconds"] = time.process_time()
    for way in (5, 20) if options.method in CLOSED_FORM else (options.way,):
        found[f"{way}-way"] = judged(options.method, loop, split.test, way, options.episodes)
    print(json.dumps(found), flush=True)
    if options.out:
        with options.out.open("a") as file:
            file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
