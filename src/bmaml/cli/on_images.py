"""The image half of `bmaml fit`, `bmaml predict` and `bmaml evaluate`: folders of class folders in, tables out."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from bmaml.cli.option_groups import Fitting, HeldOut, ImageFitting
from bmaml.cli.options import must_be_new, whole_numbers
from bmaml.cli.output import as_texts, plain_warnings, write
from bmaml.cli.train import report
from bmaml.errors import InputError
from bmaml.io.files import read_plain, write_atomically

if TYPE_CHECKING:
    from bmaml.estimators.classifier import FewShotClassifier
    from bmaml.estimators.held_out_classes import EpisodeScores
    from bmaml.images import ImageSet
    from bmaml.models.by_name import Network
    from bmaml.tasks import Episodes

EPISODES = 600  # number of episodes that score a fitted model


def fit(path: Path, folder: Path, fitting: Fitting, drawn: ImageFitting, held_out: HeldOut) -> None:
    """Learn from a folder or zip of class folders, score on held-out classes, and save both in a folder.

    - `path`: the images.
    - `folder`: where to save.
    - `fitting`, `drawn`, `held_out`: how to fit, how episodes are drawn, and what is held out.

    Raises: InputError before training if anything does not fit.
    """
    from bmaml.estimators.classifier import FewShotClassifier
    from bmaml.estimators.held_out_classes import score_episodes
    from bmaml.images import read_images
    from bmaml.training.progress import BarProgress

    shots, way = whole_numbers(fitting.shots, "--shots") or (1,), drawn.way or 5
    must_be_new(folder)
    with plain_warnings():
        images = read_images(path, size=drawn.size, superclasses=drawn.superclasses)
    training, held = _split(images, held_out.split_by, held_out.test_share, way, fitting.seed)
    model = FewShotClassifier(
        fitting.method or "protonet",
        way=way,
        shots=shots[0] if len(shots) == 1 else shots,
        particles=fitting.particles,
        network=cast("Network", drawn.network or "auto"),  # an unknown name is refused later, by its name
        filters=drawn.filters,
        size=drawn.size,
        rotations=drawn.rotations,
        within=drawn.within,
        steps=fitting.steps,
        seed=fitting.seed,
        progress=BarProgress(f"fitting {path.name}"),
    )
    asked = None if held is None else model.episodes(held)
    notes = {"images": str(path.absolute()), "held_out": [] if held is None else list(held.classes)}
    model.fit(training, directory=folder, notes=notes)
    report(model.run_, folder)
    if asked is None or held is None:
        return
    scores = score_episodes(model.learner(), model.run_.meta, asked, EPISODES)
    _write_json(folder / "scores.json", notes | {"scores": [scores.to_json()]})
    typer.echo(f"\non {EPISODES} episodes of {len(held.classes)} held-out classes (95% interval over episodes):")
    typer.echo(f"{shown([scores])}\n\nscores in {folder / 'scores.json'}")


def _split(images: ImageSet, by: str | None, share: float, way: int, seed: int) -> tuple[ImageSet, ImageSet | None]:
    from bmaml.images import split_images

    if not share:
        return images, None
    if by is None:
        by = (
            "parts"
            if {"train", "test"} <= set(images.parts)
            else "superclasses"
            if len(set(images.superclasses)) > 2
            else "random"
        )
    if by == "random":
        # A task needs at least as many held-out classes as its way.
        share = min(max(share, way / len(images.classes)), 0.9)
    parts = split_images(images, by, held_out=share, seed=seed)
    return parts.train, parts.test


def shown(rows: list[EpisodeScores]) -> str:
    """Return scores `rows` as an aligned table, with a line on when the model should abstain."""
    from bmaml.cli.on_tables import aligned, shown_estimate

    head = ["way", "shots", "accuracy", "NLL (nats)", "Brier", "ECE", "answers if 95% right", "from a confidence of"]
    cells = [
        [
            str(r.way),
            str(r.shots),
            *(shown_estimate(e) for e in (r.accuracy, r.nll, r.brier, r.ece)),
            f"{r.answered:.1%}",
            f"{r.abstain_below:.3f}",
        ]
        for r in rows
    ]
    return aligned([head, *cells])


def predict(model: Path, support: Path | None, query: Path | None, abstain_below: float | None, out: Path | None) -> None:
    """Write a CSV with one row for each query image: the most likely class, whether to abstain, each class's probability.

    If the model has no scores of held-out classes, a note says that it never abstains.

    - `model`: the model's folder.
    - `support`, `query`: labelled images, and images to classify.
    - `abstain_below`: abstain below this confidence (None: the one from held-out classes).

    Raises: InputError if the model is no model of images, or an image does not fit.
    """
    if support is None or query is None:
        raise InputError("a classifier of images needs labelled and new images: give --support and --query.")
    if abstain_below is not None and not 0.0 <= abstain_below <= 1.0:
        raise InputError(f"--abstain-below is {abstain_below:g}: give a confidence from 0 to 1, such as 0.8.")
    must_be_new(out)
    with plain_warnings():
        content = predictions(_finished(model), support, query, _threshold(model) if abstain_below is None else abstain_below)
    write(content, out)


def predictions(model: FewShotClassifier, support: Path, query: Path, below: float) -> str:
    """Return the CSV of class probabilities, and say how many answers are right if the folders of the images show it.

    - `model`: the classifier.
    - `support`, `query`: labelled images, and images to classify.
    - `below`: abstain below this confidence.
    """
    from bmaml.images.rows import image_rows

    task, rows = model.adapt(support), image_rows(query, model.form_)
    p = task.probabilities(rows)
    names = [str(name) for name in task.classes_]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", "label", "abstain", *(f"p_{name}" for name in names)])
    for name, each in zip(rows.names, p, strict=True):
        table.writerow([name, names[each.argmax()], str(bool(each.max() < below)).lower(), *as_texts(each)])
    if all(folder in names for folder in rows.folders):
        right = sum(names[each.argmax()] == folder for each, folder in zip(p, rows.folders, strict=True))
        typer.echo(f"{right} of {len(rows)} images are given the class that their folder names", err=True)
    return text.getvalue()


def _threshold(model: Path) -> float:
    """Return the confidence chosen on held-out episodes, or 0 (never abstain) without such episodes."""
    path = model / "scores.json"
    if not path.exists():
        text = f"{model} has no scores of held-out classes, so it never abstains: give --abstain-below, or run bmaml evaluate."
        warnings.warn(text, stacklevel=2)
        return 0.0
    try:
        return float(json.loads(read_plain(path, 2**24))["scores"][0]["abstain_below"])
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"{path} is damaged: restore it, or give --abstain-below.") from error


def _finished(model: Path) -> FewShotClassifier:
    from bmaml.estimators.classifier import FewShotClassifier

    fitted = FewShotClassifier.load(model)
    run = fitted.run_
    if not run.finished:
        raise InputError(f"{model} stopped at meta-step {run.step} of {run.steps}: resume it with bmaml resume {model}.")
    return fitted


def evaluate(
    model: Path, shots: tuple[int, ...] | None, queries: int | None, count: int, seed: int, as_json: bool, out: Path | None
) -> None:
    """Score a saved classifier on new episodes of its held-out classes, whose images are read again.

    A resumed model gets its scores.json here, which says when to abstain.

    - `model`: the model's folder.
    - `shots`, `queries`, `count`: support and query images of each class, and number of episodes.
    """
    from bmaml.estimators.held_out_classes import score_episodes

    fitted = _finished(model)
    tasks = _held_out(model, fitted)
    rows = []
    for given in shots or (max(tasks.shots),):
        asked = dataclasses.replace(tasks, shots=(given,), queries=queries or tasks.queries)
        rows.append(score_episodes(fitted.learner(), fitted.run_.meta, asked, count, seed))
    scores = [row.to_json() for row in rows]
    if out is not None:
        _write_json(out, scores)
    if not (model / "scores.json").exists():
        _write_json(model / "scores.json", fitted.notes_ | {"scores": scores})
    typer.echo(json.dumps(scores, indent=1) if as_json else shown(rows))


def _held_out(model: Path, fitted: FewShotClassifier) -> Episodes:
    from bmaml.images.image_set import AbstractImageSource
    from bmaml.training.run import source as trained_on

    held = fitted.notes_.get("held_out")
    tasks: Episodes = trained_on(model)
    source = tasks.bank.origin
    if not held or not isinstance(source, AbstractImageSource):
        raise InputError(f"{model} remembers no held-out classes of image files: fit it again with a --test-share above 0.")
    return dataclasses.replace(tasks, bank=source.of(tuple(held)).read(), way=fitted.way)


def _write_json(path: Path, content: Any) -> None:
    try:
        write_atomically(path, json.dumps(content, indent=1))
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror or error}): free some space or give another place.") from error
