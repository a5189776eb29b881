"""Accuracy on Omniglot's background set: methods trained by their recipes, scored on alphabets that they have not seen.

Run from this folder: python omniglot.py --data images_background.zip --runs runs --out ../../docs/results/images. Of the
alphabets, sorted by name, the first 25 train and the last five test. With both halves of Omniglot, --split omniglot-1200
(1,200 random characters train and 423 test) and --split vinyals are the splits that papers use. With one half, --split random
holds out three tenths of the characters. Each split needs its own --runs and --out. Rotated characters are classes of their
own. Scores are over 600 episodes. A method is trained once, kept under --runs, and scored by every test that it can take.
Settings follow its name, as in shared-bmaml:particles=1. New scores join the rows of omniglot.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from bmaml import methods
from bmaml.evaluation.evaluate import Evaluation, evaluate, regret
from bmaml.experiments.numbers import markdown_table
from bmaml.images import SPLITS, Split, read_images, split_images
from bmaml.methods.made_of import OfClasses
from bmaml.recipes.images import build_image_method, image_recipe
from bmaml.training.run import Run, resume, train

METRICS = ("accuracy", "nll", "calibration", "brier")
METHODS = "protonet;matching;ridge;maml;shared-bmaml;shared-bmaml:particles=1"
# The first less the second, on the same episodes.
PAIRS = (("shared-bmaml", "shared-bmaml:particles=1"),)


class Test(NamedTuple):
    """Episodes to be judged by: of all alphabets pooled, or each of one alphabet, with `shots` images of each class given."""

    way: int
    within: bool
    queries: int
    shots: int = 1


TESTS = {
    "5-way": Test(5, False, 15),
    "20-way": Test(20, False, 2),
    "20-way within an alphabet": Test(20, True, 2),
    "5-way, 5 images each": Test(5, False, 15, 5),
    "20-way, 5 images each": Test(20, False, 2, 5),
}


def parsed(entry: str) -> tuple[str, dict[str, Any]]:
    """The name of a method and its changed settings."""
    name, _, rest = entry.partition(":")
    return name, {key: json.loads(value) for key, value in (pair.split("=") for pair in rest.split(",") if pair)}


def trained(entry: str, split: Split, options: argparse.Namespace) -> tuple[Run, float | None]:
    """The run of an entry, and the seconds of processor time that training took now."""
    name, settings = parsed(entry)
    recipe = image_recipe(name)
    tasks = recipe.episodes(split.train, 5, rotations=True)
    folder = options.runs / f"{entry}-{options.seed}"
    began = time.process_time()
    if folder.exists():
        run = resume(folder)
        return run, None
    plan = recipe.plan(steps=options.steps, seed=options.seed)
    run = train(build_image_method(name, tasks.shape, tasks.way, **settings), tasks, plan, directory=folder)
    return run, time.process_time() - began


def judged(run: Run, name: str, split: Split, episodes: int) -> dict[str, Evaluation]:
    """Scores by test; the same episodes for every method."""
    found = {}
    for title, test in TESTS.items():
        if test.way > 5 and not isinstance(methods.METHODS[name].made_of, OfClasses):
            continue
        if test.within and set(split.train.superclasses) & set(split.test.superclasses):
            continue  # parts of alphabets are too small, and not unseen
        source = split.test.episodes(test.way, test.shots, test.queries, rotations=True, within=test.within)
        settings = {"shots": (test.shots,), "count": episodes, "queries": test.queries, "seed": 1, "batch": 8}
        found[title] = evaluate(run, source, **settings)
        print(name, title, {metric: found[title].get(metric, test.shots).mean for metric in METRICS}, flush=True)
    return found


def rows_of(entry: str, seed: int, run: Run, seconds: float | None, found: dict[str, Evaluation]) -> list[dict]:
    """A row for each test: every score with its 95% interval over episodes."""
    about = {"method": entry, "seed": seed, "meta_steps": run.steps, "processor_seconds": seconds}
    rows = []
    for title, scores in found.items():
        each = {metric: scores.get(metric, TESTS[title].shots) for metric in METRICS}
        values = {metric: [row.mean, row.low, row.high] for metric, row in each.items()}
        rows.append(about | {"test": title, "episodes": each["accuracy"].tasks} | values)
    return rows


def pairs_of(everything: dict[str, dict[str, Evaluation]]) -> list[dict]:
    """Differences on the same episodes, with 95% intervals, of the pairs that were judged."""
    rows = []
    for ours, theirs in PAIRS:
        for title in everything.get(ours, {}).keys() & everything.get(theirs, {}).keys():
            pair = everything[ours][title], everything[theirs][title]
            gaps = {metric: list(regret(*pair, metric)[TESTS[title].shots, None]) for metric in ("accuracy", "nll", "brier")}
            rows.append({"method": ours, "against": theirs, "test": title} | gaps)
    return rows


def joined(old: list[dict], new: list[dict], keys: tuple[str, ...]) -> list[dict]:
    """Rows, new ones in place of old ones of the same keys; seconds that are not known now are the old ones."""
    kept = {tuple(row[key] for key in keys): row for row in old}
    for row in new:
        before = kept.get(tuple(row[key] for key in keys), {})
        if row.get("processor_seconds", 0) is None:
            row = row | {"processor_seconds": before.get("processor_seconds")}
        kept[tuple(row[key] for key in keys)] = row
    return list(kept.values())


def described(split: Split, by: str) -> str:
    """Which command, which characters train and which are judged, and what the numbers are."""
    return (
        f"`python omniglot.py --data DATA --split {by} --runs RUNS --out OUT` in `benchmarks/images`. The split is `{by}` of "
        f"`split_images`: {len(split.train.classes)} characters train and {len(split.test.classes)} are judged; turned "
        "characters are classes of their own. Brackets: 95% intervals over episodes, one training each. NLL in nats an image; "
        "calibration is the expected calibration error in 15 bins; seconds are of the processor, in training."
    )


def markdown(found: dict, about: str) -> str:
    """The results as Markdown: `about`, a table for each test, and the paired differences."""
    lines = ["# Omniglot", "", about]
    for title in TESTS:
        rows = [row for row in found["scores"] if row["test"] == title]
        if not rows:
            continue
        cells = []
        for row in sorted(rows, key=lambda row: -row["accuracy"][0]):
            scores = [_cell(row[metric], "{:.2%}" if metric == "accuracy" else "{:.4f}") for metric in METRICS]
            seconds = "" if row["processor_seconds"] is None else f"{row['processor_seconds']:.0f}"
            cells.append([row["method"], *scores, f"{row['meta_steps']:,}", seconds])
        table = markdown_table(("method", *METRICS, "meta-steps", "seconds"), cells)
        lines += ["", f"## {title}{', 1 shot' * (TESTS[title].shots == 1)}", "", table]
    for row in found["pairs"]:
        gaps = ", ".join(f"{metric} {_cell(row[metric], '{:+.4f}')}" for metric in ("accuracy", "nll", "brier"))
        lines += ["", f"{row['method']} less {row['against']}, the same episodes ({row['test']}): {gaps}."]
    return "\n".join([*lines, ""])


def _cell(values: list[float], form: str) -> str:
    mean, low, high = (form.format(value) for value in values)
    return f"{mean} [{low}, {high}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="images_background as a zip or folder")
    parser.add_argument("--split", default="alphabets", choices=SPLITS, help="which characters train and which test")
    parser.add_argument("--methods", default=METHODS, help="separated by semicolons")
    parser.add_argument("--steps", type=int, help="meta-steps (default: each recipe's)")
    parser.add_argument("--episodes", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder of the cache of decoded images")
    parser.add_argument("--runs", type=Path, required=True, help="folder that keeps the trained methods")
    parser.add_argument("--out", type=Path, required=True, help="folder of omniglot.json and omniglot.md")
    options = parser.parse_args()
    split = split_images(read_images(options.data, cache=options.cache), options.split, seed=options.seed)
    path, everything, rows = options.out / "omniglot.json", {}, []
    for entry in options.methods.split(";"):
        run, seconds = trained(entry, split, options)
        everything[entry] = judged(run, parsed(entry)[0], split, options.episodes)
        rows += rows_of(entry, options.seed, run, seconds, everything[entry])
        found = json.loads(path.read_text()) if path.exists() else {"scores": [], "pairs": []}
        found["scores"] = joined(found["scores"], rows, ("method", "seed", "test"))
        found["pairs"] = joined(found["pairs"], pairs_of(everything), ("method", "against", "test"))
        options.out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
        path.with_suffix(".md").write_text(markdown(found, described(split, options.split)))


if __name__ == "__main__":
    main()
