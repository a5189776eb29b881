"""One-shot classification within an alphabet: the error of saved models on the 20 official runs of Omniglot, or on others.

    bmaml fit images_background.zip --way 20 --shot 1 --method protonet --rotations --split-by alphabets --out omniglot
    python benchmarks/images/one_shot_runs.py --models omniglot --runs all_runs.zip --out docs/results/images/runs
    python benchmarks/images/one_shot_runs.py --models omniglot --kept-back images_background.zip --out docs/results/images/runs

A run gives one image of each of 20 characters of an alphabet, all by one person, and asks for 20 images by another person, one
of each (Lake et al., 2015, https://doi.org/10.1126/science.aab3050). Published errors on the official runs are 3.3% for
Bayesian program learning and 4.5% for people. `--runs` reads the official files: folders run01 to run20, each with a file
class_labels.txt. `--kept-back` makes 20 runs of the same kind from the last five alphabets by name, which `--split-by
alphabets` keeps back. Several models answer together, by the mean of their probabilities.
"""

from __future__ import annotations

import argparse
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from bmaml import FewShotClassifier
from bmaml.errors import InputError
from bmaml.evaluation.intervals import interval
from bmaml.experiments.numbers import markdown_table, write_results
from bmaml.images.decode import Form, decode
from bmaml.images.listing import Listed, list_files

RUNS, CLASSES, ALPHABETS = 20, 20, 5


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


def kept_back(path: Path, seed: int = 0) -> list[Trial]:
    """Return 20 runs from the last five alphabets by name, of those with at least 20 characters.

    Two people are drawn for each run, and 20 characters. The last two digits of a file's name say who drew it.
    """
    drawn: dict[str, dict[str, dict[str, Listed]]] = {}
    for file in list_files(path).images:
        alphabet, character = file.folders[-2:]
        drawn.setdefault(alphabet, {}).setdefault(character, {})[PurePosixPath(file.file).stem[-2:]] = file
    last = [alphabet for alphabet in sorted(drawn)[-ALPHABETS:] if len(drawn[alphabet]) >= CLASSES]
    rng, found = np.random.default_rng(seed), []
    for number in range(RUNS):
        alphabet = last[number % len(last)]
        characters = [drawn[alphabet][name] for name in rng.permutation(sorted(drawn[alphabet]))[:CLASSES]]
        one, other = rng.permutation(sorted(characters[0]))[:2]
        order = rng.permutation(CLASSES)
        known, asked = [each[one] for each in characters], [characters[place][other] for place in order]
        found.append(Trial(f"{alphabet} {number + 1}", known, asked, order))
    return found


def pixels(files: list[Listed], form: Form) -> np.ndarray:
    """Return images in a model's form."""
    return np.stack([decode(file.name, file.read(), form) for file in files])


def probabilities(model: FewShotClassifier, trial: Trial) -> np.ndarray:
    """Return the probability of each class for each test image of a run, from one image of each class."""
    labels = [f"{place:03}" for place in range(len(trial.known))]
    task = model.adapt(pixels(trial.known, model.form_), labels)
    return task.predict_proba(pixels(trial.asked, model.form_))


def judged(models: list[FewShotClassifier], trials: list[Trial]) -> list[dict]:
    """Return the error and the negative log-likelihood of each run, by the mean of the models' probabilities."""
    rows = []
    for trial in trials:
        p = np.mean([probabilities(model, trial) for model in models], 0)
        right = p[np.arange(len(p)), trial.classes]
        rows.append(
            {"run": trial.name, "error": float((p.argmax(1) != trial.classes).mean()), "nll": float(-np.log(right).mean())}
        )
    return rows


def markdown(rows: list[dict], about: str) -> str:
    """Return the runs as a table, with the mean and its 95% interval over runs."""
    cells = [(row["run"], f"{row['error']:.1%}", f"{row['nll']:.3f}") for row in rows]
    mean, low, high = interval(np.array([row["error"] for row in rows]), (0.0, 1.0))
    nll = np.mean([row["nll"] for row in rows])
    cells.append(("mean", f"{mean:.2%} [{low:.2%}, {high:.2%}]", f"{nll:.3f}"))
    return "\n".join(["# One-shot runs", "", about, "", markdown_table(("run", "error", "NLL"), cells), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", required=True, help="folders that `bmaml fit` wrote, separated by commas")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--runs", type=Path, help="folder or zip of the official runs")
    source.add_argument("--kept-back", type=Path, help="folder or zip of images_background")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table")
    options = parser.parse_args()
    models = [FewShotClassifier.load(folder) for folder in options.models.split(",")]
    trials = official(options.runs) if options.runs else kept_back(options.kept_back)
    name = "official" if options.runs else "kept_back"
    rows, given = judged(models, trials), "--runs all_runs.zip" if options.runs else "--kept-back images_background.zip"
    command = f"python benchmarks/images/one_shot_runs.py --models {options.models} {given} --out docs/results/images/runs"
    about = f"`{command}`: {len(rows)} runs of 20 classes, with the 95% interval over runs."
    write_results(options.out, name, markdown(rows, about), rows)
    print(markdown(rows, about))


if __name__ == "__main__":
    main()
