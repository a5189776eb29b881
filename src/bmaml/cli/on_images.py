"""The image half of `bmaml fit`, `bmaml predict` and `bmaml evaluate`: folders of class folders in, tables out."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from bmaml.cli.on_tables import SCORES, shown_estimate
from bmaml.cli.option_groups import Fitting, HeldOut, ImageFitting
from bmaml.cli.options import TYPED, changes, must_be_a_csv, must_take_a_run, whole_numbers
from bmaml.cli.output import as_texts, plain_warnings, report, write
from bmaml.errors import InputError
from bmaml.io.aligned import aligned
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
    from bmaml.images import read_images
    from bmaml.tables.table import listed
    from bmaml.training.progress import BarProgress

    shots, way = whole_numbers(fitting.shots, "--shots") or (1,), drawn.way or 5
    must_take_a_run(folder)
    with plain_warnings():
        images = read_images(path, size=drawn.size, superclasses=drawn.superclasses)
    training, held = _split(images, held_out.split_by, held_out.share(), way, fitting.seed)
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
        distort=drawn.distort,
        steps=fitting.steps,
        seed=fitting.seed,
        progress=BarProgress(f"fitting {path.name}"),
    )
    classes = [] if held is None else list(held.classes)
    notes = {"images": str(path.absolute()), "held_out": classes, "command": TYPED.get()}
    asked = None if held is None else model.episodes(held)
    if held is not None:
        held_out_of = f"{len(held.classes)} of {len(images.classes)} classes"
        typer.echo(f"{held_out_of} are held out to score on: {listed(held.classes, 6)}", err=True)
    model.fit(training, directory=folder, notes=notes)
    report(model.run_, folder)
    if asked is not None:
        _report_scores(model, asked, folder)


def finish(folder: Path) -> None:
    """Score a fit that was stopped and then resumed, as `fit` would have. Scores that are there are not made again.

    `folder` is the model's folder.
    Raises: InputError if the images are gone or have changed.
    """
    model = _finished(folder)
    if model.notes_.get("held_out") and not (folder / "scores.json").exists():
        tasks = _held_out(folder, model)
        _report_scores(model, dataclasses.replace(tasks, queries=model.queries_of(tasks.bank.sizes)), folder)


def _report_scores(model: FewShotClassifier, asked: Episodes, folder: Path) -> None:
    """Print the scores on episodes of held-out classes, and write them to scores.json in the model's folder."""
    from bmaml.estimators.held_out_classes import score_episodes

    scores, path = score_episodes(model.learner(), model.run_.meta, asked, EPISODES), folder / "scores.json"
    _write_json(path, model.notes_ | {"scores": [scores.to_json()]})
    typer.echo(f"\non {EPISODES} episodes of {len(asked.bank.sizes)} held-out classes (95% interval over episodes):")
    typer.echo(f"{shown([scores])}\n\nscores in {path}")


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
    must_be_a_csv(out)
    with plain_warnings():
        content = predictions(_finished(model), support, query, abstain_below, _scores(model))
    write([content], out)


def predictions(model: FewShotClassifier, support: Path, query: Path, below: float | None, scores: list[dict[str, Any]]) -> str:
    """Return the CSV of class probabilities, and say how many answers are right if the folders of the images show it.

    - `model`: the classifier.
    - `support`, `query`: labelled images, and images to classify.
    - `below`: abstain below this confidence. None takes the one of `scores`.
    - `scores`: scores on held-out classes, with a confidence for each number of classes and of images.
    """
    from bmaml.images.rows import image_rows

    task, rows = model.adapt(support), image_rows(query, model.form_)
    given = min(Counter(task.labels.tolist()).values())
    below = threshold(scores, len(task.classes_), given) if below is None else below
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


def threshold(scores: list[dict[str, Any]], way: int, shots: int) -> float:
    """Return the confidence below which to abstain in a task, with a warning if it was not measured for such tasks.

    - `scores`: scores on held-out classes.
    - `way`, `shots`: classes of the task, and labelled images of its smallest class.

    Without scores the result is 0, which never abstains.
    """
    if not scores:
        text = "the model has no scores of held-out classes, so it never abstains: give --abstain-below, or run bmaml evaluate."
        warnings.warn(text, stacklevel=2)
        return 0.0
    for row in scores:
        if _task(row) == (way, shots):
            return row["abstain_below"]
    known = ", ".join(f"{way} classes and {shots} images of each" for way, shots in map(_task, scores))
    warnings.warn(
        f"this task has {way} classes and {shots} labelled images of the smallest, and when to abstain is known for {known}: "
        f"run bmaml evaluate with --way {way} --shots {shots}, or give --abstain-below.",
        stacklevel=2,
    )
    return max(row["abstain_below"] for row in scores)


def _task(row: dict[str, Any]) -> tuple[int, int]:
    return row["way"], row["shots"]


def _scores(model: Path) -> list[dict[str, Any]]:
    """Return the scores on held-out classes that lie beside a model."""
    path = model / "scores.json"
    if not path.exists():
        return []
    try:
        rows = json.loads(read_plain(path, SCORES, links=False))["scores"]
        whole = all(isinstance(row["abstain_below"], float) and min(_task(row)) > 0 for row in rows)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is damaged: restore or remove it.") from error
    if not whole:
        raise InputError(f"{path} is damaged: restore or remove it.")
    return rows


def _finished(model: Path) -> FewShotClassifier:
    from bmaml.estimators.classifier import FewShotClassifier

    fitted = FewShotClassifier.load(model)
    run = fitted.run_
    if not run.finished:
        raise InputError(f"{model} stopped at meta-step {run.step} of {run.steps}: resume it with bmaml resume {model}.")
    return fitted


def recalibrate(model: Path, further: Path, out: Path, shots: tuple[int, ...] | None) -> None:
    """Save a classifier that is as sure as it is right on further classes, with its scores and when it should abstain.

    - `model`, `out`: folders of the model and of the changed one.
    - `further`: images of further classes.
    - `shots`: numbers of labelled images of each class (None: those of training).

    Raises: InputError if the classes are few or were fitted on, or an image does not fit.
    """
    from bmaml.estimators.held_out_classes import score_episodes

    fitted = _finished(model)
    with plain_warnings():
        images = fitted.further(further)
        before, before_meta = fitted.learner(), fitted.run_.meta
        fitted.recalibrate(images, shots=shots)
    change = fitted.run_.meta.change
    lines = [[given, right, by] for given, right, by, _ in changes(change)]
    typer.echo(aligned([["shots", "right", "temperature (95% interval)"], *lines]))
    scores = []
    for given in map(int, change.shots.tolist()):
        asked = fitted.asked(images, (given,))
        pair = ((before, before_meta), (fitted.learner(), fitted.run_.meta))
        scores += [score_episodes(learner, meta, asked, EPISODES) for learner, meta in pair]
    fitted.save(out)
    _write_json(out / "scores.json", {"scores": [score.to_json() for score in scores[1::2]]})
    typer.echo(f"\non {EPISODES} episodes of these classes, before and after (95% interval over episodes):")
    typer.echo(f"{shown(scores)}\n\nsaved in {out}")


@dataclasses.dataclass(frozen=True)
class Drawn:
    """How episodes are drawn. None is as fitted.

    - `shots`, `queries`: support and query images of each class.
    - `way`: classes.
    - `count`, `seed`: number of episodes and their seed.
    """

    shots: tuple[int, ...] | None
    way: int | None
    queries: int | None
    count: int
    seed: int


def evaluate(model: Path, drawn: Drawn, as_json: bool, out: Path | None) -> None:
    """Score a saved classifier on new episodes of its held-out classes, whose images are read again.

    The model's scores.json, which says when to abstain, gets the scores of numbers of classes and of images that it lacks.

    - `model`: the model's folder.
    - `drawn`: how episodes are drawn.
    - `as_json`, `out`: whether to print JSON, and a file to write.
    """
    from bmaml.estimators.held_out_classes import score_episodes

    fitted = _finished(model)
    tasks, way = _held_out(model, fitted), drawn.way or fitted.way
    rows = []
    for given in drawn.shots or (max(tasks.shots),):
        asked = dataclasses.replace(tasks, way=way, shots=(given,), queries=drawn.queries or tasks.queries)
        rows.append(score_episodes(fitted.learner(way), fitted.run_.meta, asked, drawn.count, drawn.seed))
    scores = [row.to_json() for row in rows]
    if out is not None:
        _write_json(out, scores)
    known = _scores(model)
    new = [row for row in scores if not any(_task(row) == _task(other) for other in known)]
    if new and drawn.count >= EPISODES:
        _write_json(model / "scores.json", fitted.notes_ | {"scores": [*known, *new]})
    typer.echo(json.dumps(scores, indent=1) if as_json else shown(rows))


def _held_out(model: Path, fitted: FewShotClassifier) -> Episodes:
    from bmaml.images.image_set import AbstractImageSource
    from bmaml.training.run import source as trained_on

    held = fitted.notes_.get("held_out")
    tasks: Episodes | None = trained_on(model)
    if tasks is None:
        raise InputError(f"{model} was saved without its images: score the model in the folder that bmaml fit wrote.")
    source = tasks.bank.origin
    if not held or not isinstance(source, AbstractImageSource):
        raise InputError(f"{model} remembers no held-out classes of image files: fit it again with a --test-share above 0.")
    return dataclasses.replace(tasks, bank=source.of(tuple(held)).read(), way=fitted.way, distort=0.0)


def _write_json(path: Path, content: Any) -> None:
    try:
        write_atomically(path, json.dumps(content, indent=1))
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror or error}): free some space or give another place.") from error
