"""One-shot classification within an alphabet: the error of saved models on the 20 official runs of Omniglot, or on others.

    bmaml fit images_background.zip --way 20 --method protonet --network pyramid --size 32 --rotations --within --distort 0.7 \
        --steps 4000 --split-by alphabets --out one-shot
    python benchmarks/images/one_shot_runs.py --models one-shot --runs all_runs.zip --out docs/results/images/runs
    python benchmarks/images/one_shot_runs.py --models one-shot --kept-back images_background.zip --out docs/results/images/runs

The models of `docs/results` are this one and two more, `--size 28 --seed 1 --out one-shot-28` and `--size 28 --seed 2 --out
one-shot-28-2`; and of its folder `long` `--steps 16000 --out one-shot-long` and `--steps 16000 --size 28 --seed 1 --out
one-shot-long-28`. Several models answer together, by the mean of their probabilities.

A run gives one image of each of 20 characters of an alphabet, all by one person, and asks for 20 images by another person, one
of each (Lake et al., 2015, https://doi.org/10.1126/science.aab3050). Published errors on the official runs are 3.3% for
Bayesian program learning and 4.5% for people. `--runs` reads the official files: folders run01 to run20, each with a file
class_labels.txt. `--kept-back` makes runs of the same kind from the last five alphabets by name, which `--split-by
alphabets` keeps back: 20, or as many as `--count`.
With `--copies 8` a model is also given 8 distorted copies of each image, and answers by the mean over 8 copies of each test
image and the image itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bmaml import FewShotClassifier
from bmaml.data import Data
from bmaml.distributions import Categorical
from bmaml.errors import InputError
from bmaml.evaluation.intervals import interval
from bmaml.evaluation.metrics import bootstrap_calibration, classification_scores
from bmaml.experiments.numbers import markdown_table, write_results
from bmaml.images.decode import Form, decode
from bmaml.images.listing import Listed, list_files
from bmaml.tasks.distortions import distorted

RUNS, CLASSES, ALPHABETS = 20, 20, 5
KEPT = ("run", "accuracy", "nll", "brier")
# Of the copies: the best of 0.3, 0.5, 0.7 and 1 on five of the training alphabets, after a short training.
STRENGTH = 0.3
_TINY = 1e-30  # A probability may round to 0.


class Trial(NamedTuple):
    """A run: its name, the image of each class, and the test images with the class (a place in `known`) of each."""

    name: str
    known: list[Listed]
    asked: list[Listed]
    classes: np.ndarray


def official(path: Path) -> list[Trial]:
    """Return the runs in a folder or zip of the official files.

    Raises: InputError if a list of labels is missing, or names an image that is not there.
    """
    listing = list_files(path)
    images = {_short(file): file for file in listing.images}
    lists = [file for file in listing.texts if file.file == "class_labels.txt"]
    if not lists:
        raise InputError(f"{path} holds no class_labels.txt: give the folder or zip of the official runs.")
    found = []
    for text in lists:
        pairs = [line.split() for line in text.read().decode("utf-8").splitlines() if line.strip()]
        for name in (name for pair in pairs for name in pair):
            if len(name.split("/")) != 3 or name not in images:
                raise InputError(f"{path}, {text.name} names {name!r}, which is no image there: give the files as published.")
        known = sorted({pair[1] for pair in pairs})
        classes = np.array([known.index(pair[1]) for pair in pairs])
        run = PurePosixPath(text.name).parts[-2]
        found.append(Trial(run, [images[name] for name in known], [images[pair[0]] for pair in pairs], classes))
    return found


def _short(file: Listed) -> str:
    """Run, part and name of an image, as the lists name it."""
    return "/".join(PurePosixPath(file.name).parts[-3:])


def kept_back(path: Path, count: int = RUNS, seed: int = 0) -> list[Trial]:
    """Return `count` runs from the last five alphabets by name, of those with at least 20 characters.

    Two people are drawn for each run, and 20 characters. The last two digits of a file's name say who drew it.
    """
    drawn: dict[str, dict[str, dict[str, Listed]]] = {}
    for file in list_files(path).images:
        alphabet, character = file.folders[-2:]
        drawn.setdefault(alphabet, {}).setdefault(character, {})[PurePosixPath(file.file).stem[-2:]] = file
    last = [alphabet for alphabet in sorted(drawn)[-ALPHABETS:] if len(drawn[alphabet]) >= CLASSES]
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        alphabet = last[number % len(last)]
        characters = [drawn[alphabet][name] for name in rng.permutation(sorted(drawn[alphabet]))[:CLASSES]]
        one, other = rng.permutation(sorted(characters[0]))[:2]
        order = rng.permutation(CLASSES)
        known, asked = [each[one] for each in characters], [characters[place][other] for place in order]
        found.append(Trial(f"{alphabet} {number + 1}", known, asked, order))
    return found


def pixels(files: list[Listed], form: Form) -> np.ndarray:
    """Return images in a model's form, from 0 to 1."""
    return np.stack([decode(file.name, file.read(), form) for file in files]) / np.float32(255)


def with_copies(images: np.ndarray, copies: int, seed: int) -> list[np.ndarray]:
    """Return the images, and `copies` distorted copies of them."""
    keys = jax.random.split(jax.random.key(seed), copies)
    return [images, *(np.asarray(distorted(jnp.asarray(images), STRENGTH, key=key)) for key in keys)]


def probabilities(model: FewShotClassifier, trial: Trial, copies: int = 0) -> np.ndarray:
    """Return the probability of each class for each test image of a run, from one image of each class."""
    labels = [f"{place:03}" for place in range(len(trial.known))]
    known, asked = (
        with_copies(pixels(files, model.form_), copies, seed) for seed, files in enumerate((trial.known, trial.asked))
    )
    task = model.adapt(np.concatenate(known), labels * len(known))
    return np.mean([task.predict_proba(each) for each in asked], 0)


def judged(models: list[FewShotClassifier], trials: list[Trial], copies: int = 0) -> list[dict[str, Any]]:
    """Return the scores of each run, by the mean of the models' probabilities."""
    rows = []
    for trial in trials:
        p = np.mean([probabilities(model, trial, copies) for model in models], 0)
        query = Data(jnp.zeros((len(p), 0)), jnp.asarray(trial.classes), jnp.ones(len(p)))
        scores = classification_scores(
            Categorical(jnp.log(jnp.maximum(jnp.asarray(p), _TINY))), query, jnp.zeros(()), key=jax.random.key(0)
        )
        rows.append({"run": trial.name} | {name: float(score) for name, score in scores.items()})
    return rows


def markdown(rows: list[dict[str, Any]], about: str) -> str:
    """Return the runs as a table, with means and their 95% intervals over runs."""
    cells = [(row["run"], f"{1 - row['accuracy']:.1%}", f"{row['nll']:.3f}") for row in rows]
    error = interval(1 - np.array([row["accuracy"] for row in rows]), (0.0, 1.0))
    nll = interval(np.array([row["nll"] for row in rows]), (0.0, np.inf))
    cells.append(("mean", _shown(error, ".2%"), _shown(nll, ".3f")))
    scores = {name: np.array([row[name] for row in rows]) for name in rows[0] if name != "run"}
    calibration = bootstrap_calibration(scores)
    assert calibration is not None
    sure = f"Calibration error of all test images, in 15 bins: {_shown(calibration, '.3f')}."
    return "\n".join(["# One-shot runs", "", about, "", markdown_table(("run", "error", "NLL"), cells), "", sure, ""])


def _shown(values: Sequence[float], form: str) -> str:
    mean, low, high = (format(value, form) for value in values)
    return f"{mean} [{low}, {high}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", required=True, help="folders that `bmaml fit` wrote, separated by commas")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--runs", type=Path, help="folder or zip of the official runs")
    source.add_argument("--kept-back", type=Path, help="folder or zip of images_background")
    parser.add_argument("--count", type=int, default=RUNS, help="number of runs that --kept-back makes")
    parser.add_argument("--copies", type=int, default=0, help="distorted copies of each image")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table")
    options = parser.parse_args()
    models = [FewShotClassifier.load(folder) for folder in options.models.split(",")]
    trials = official(options.runs) if options.runs else kept_back(options.kept_back, options.count)
    name, given = ("official", "--runs all_runs.zip") if options.runs else ("kept_back", "--kept-back images_background.zip")
    for each, usual in (("count", RUNS), ("copies", 0)):
        value = getattr(options, each)
        if value != usual:
            name, given = f"{name}_{each}_{value}", f"{given} --{each} {value}"
    rows = judged(models, trials, options.copies)
    command = f"python benchmarks/images/one_shot_runs.py --models {options.models} {given} --out docs/results/images/runs"
    about = f"`{command}`: {len(rows)} runs of 20 classes. Brackets hold 95% intervals over runs."
    kept = [{key: row[key] for key in KEPT} for row in rows]
    write_results(options.out, name, markdown(rows, about), kept)
    print(markdown(rows, about))


if __name__ == "__main__":
    main()
