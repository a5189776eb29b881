"""Few-shot classification of images in the manner of scikit-learn: fit on many classes, adapt to new ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Annotated, Any

from numpy.typing import ArrayLike

from bmaml.errors import InputError
from bmaml.estimators.base import AbstractEstimator, read_from, recalibrated, saved
from bmaml.estimators.classifier_task import AdaptedClasses, labels_of
from bmaml.estimators.seen import check_unseen, sketch
from bmaml.evaluation.recalibrate import LEAST_TASKS, recalibrate
from bmaml.images import ImageSet, from_arrays, read_images
from bmaml.images.decode import Form
from bmaml.images.rows import ImagesLike, image_rows
from bmaml.io.checked import AtLeast, Count, NotNegative, Positive, Seed
from bmaml.learners.base import AbstractLearner
from bmaml.learners.resized import for_classes, takes_any_number
from bmaml.methods import Method
from bmaml.models.by_name import Network
from bmaml.recipes.images import ImageRecipe, build_image_method, image_recipe
from bmaml.tasks.episodes import Episodes
from bmaml.tasks.shots import Shots, shot_counts
from bmaml.training.plan import Plan
from bmaml.training.progress import Progress
from bmaml.training.run import train


class FewShotClassifier(AbstractEstimator):
    """Learns from images of many classes how to tell new classes apart by a few images of each, and how sure to be.

    None for a setting takes the value of the method's recipe (`bmaml.methods.METHODS`).

    - `method`: a name (`bmaml.methods.fitting("classes")`) or a `Method` over flat images.
    - `way`: classes of a task. Some methods, such as prototypes, train on up to 30, which makes better features.
    - `shots`: support images of each class in training, one count or several.
    - `queries`: query images of each class, at most what the smallest class leaves.
    - `network`, `filters`: as in `bmaml.models.by_name.image_network`.
    - `rotations`: whether rotated images are classes of their own, for drawings and the like.
    - `within`: whether an episode's classes come from one superclass.
    - `distort`: strength of random distortions of training images, such as 1 for drawings: each is turned, slanted, stretched,
      moved and bent a little (`bmaml.tasks.distortions.distorted`). 0 is none.
    - `size`: side, or height and width, to resize files to; not needed if all have one size.
    - `steps`, `batch`: meta-steps, and episodes of a meta-step.
    - `learning_rate`: rate of the outer optimiser.
    - `progress`: True prints a line on stderr from time to time; or a `bmaml.training.progress.Progress`.
    """

    def __init__(
        self,
        method: str | Method = "protonet",
        *,
        way: Annotated[int, AtLeast(2)] = 5,
        shots: Shots = 1,
        queries: Count | None = None,
        particles: Count | None = None,
        network: Network = "auto",
        filters: Count | None = None,
        size: int | Sequence[int] | None = None,
        rotations: bool = False,
        within: bool = False,
        distort: NotNegative = 0.0,
        steps: Count | None = None,
        batch: Count | None = None,
        learning_rate: Positive | None = None,
        seed: Seed = 0,
        progress: bool | Progress = False,
    ):
        self.method, self.way, self.shots, self.queries, self.particles = method, way, shots, queries, particles
        self.network: Network = network
        self.filters, self.size, self.rotations, self.within, self.distort = filters, size, rotations, within, distort
        self.steps, self.batch, self.learning_rate, self.seed, self.progress = steps, batch, learning_rate, seed, progress

    def fit(
        self,
        X: ImagesLike,
        y: ArrayLike | None = None,
        *,
        superclasses: ArrayLike | str | Path | None = None,
        directory: str | Path | None = None,
        overwrite: bool = False,
        notes: dict[str, Any] | None = None,
    ) -> FewShotClassifier:
        """Meta-train on the images of many classes; returns self.

        - `X`: a folder or zip of class folders, an `ImageSet`, or an array of images (see `bmaml.images.from_arrays`).
        - `y`: a label of any kind for each image of an array.
        - `superclasses`: a CSV of classes and superclasses, or a coarser label for each image.
        - `directory`: folder to save the run in. It names the files of the images, and `load` reads it.
        - `overwrite`: whether to replace a run that is in that folder.
        - `notes`: JSON that is kept with the run.

        Raises: InputError that names the file or class that does not fit.
        """
        self.check_settings()
        images = self._images(X, y, superclasses)
        tasks = dataclasses.replace(self.episodes(images), distort=self.distort)
        method = self.method
        if isinstance(method, str):
            way = self._recipe.training_way(images, self.way, rotations=self.rotations, within=self.within)
            tasks = dataclasses.replace(tasks, way=way)
            options = {"particles": self.particles, "network": self.network, "filters": self.filters}
            method = build_image_method(method, images.shape, way, **options)
        form, own = dataclasses.replace(images.form, brightness=images.brightness()), notes or {}
        self.seen_ = _sketches(images)
        about = self._about(form, own)
        kept: dict[str, Any] = {"directory": directory, "overwrite": overwrite, "about": about}
        self.run_ = train(method, tasks, self.plan(), **kept, progress=self.progress)
        self.form_, self.notes_ = form, own
        return self

    def recalibrate(self, X: ImagesLike, y: ArrayLike | None = None, *, shots: Shots | None = None) -> FewShotClassifier:
        """Make the model as sure as it is right on further classes (`bmaml.evaluation.recalibrate`); returns self.

        A temperature for each number of images divides the logits. The likeliest class of an image mostly stays.

        - `X`, `y`: images of at least 10 classes that the model was not fitted on, in the form that `adapt` takes.
        - `shots`: numbers of labelled images of each class (None: those of training).

        Raises: InputError before `fit`, for fewer classes or classes that were fitted on, or if images do not fit.
        """
        run, images = self.fitted(), self.further(X, y)
        if len(images.classes) < LEAST_TASKS:
            raise InputError(
                f"there are {len(images.classes)} classes and a recalibration needs at least {LEAST_TASKS}, since fewer may "
                "all be easy or all be hard: give images of more classes."
            )
        check_unseen(_sketches(images), self.seen_, "classes")
        counts = shot_counts(self.shots if shots is None else shots, least=1)
        tasks = self.asked(images, counts)
        self.run_ = recalibrated(run, recalibrate(run, tasks, shots=counts, queries=tasks.queries))
        return self

    def asked(self, images: ImageSet, shots: tuple[int, ...]) -> Episodes:
        """Return episodes of `images` with other numbers of labelled images of each class, `shots`.

        Raises: InputError that names the class with too few images, or if there are fewer classes than `way`.
        """
        queries = min(self.queries_of(images.sizes), max(1, min(images.sizes) - max(shots)))
        return images.episodes(self.way, shots, queries, rotations=self.rotations)

    def further(self, X: ImagesLike, y: ArrayLike | None = None) -> ImageSet:
        """Return the images `X` of further classes in the model's form; `y` are their labels.

        Raises: InputError before `fit`, or if images and labels do not fit.
        """
        self.fitted()
        rows = image_rows(X, self.form_)
        return from_arrays(rows.x.reshape(-1, *self.form_.shape), labels_of(rows, y))

    @property
    def _recipe(self) -> ImageRecipe:
        return image_recipe(self.method) if isinstance(self.method, str) else ImageRecipe()

    def _images(self, X: ImagesLike, y: ArrayLike | None, superclasses: ArrayLike | str | Path | None) -> ImageSet:
        if isinstance(X, ImageSet):
            return X
        if isinstance(X, str | PathLike):
            if not isinstance(superclasses, str | Path | None):
                raise InputError("superclasses of a folder are given as an array: give the CSV of classes and superclasses.")
            return read_images(Path(X), size=self.size, superclasses=superclasses)
        if y is None:
            raise InputError("y is missing: give the class of each image of X, or a folder of class folders.")
        if isinstance(superclasses, Path):
            raise InputError(f"superclasses={superclasses} is a file and X is an array: give one superclass for each image.")
        return from_arrays(X, y, superclasses=superclasses)

    def episodes(self, images: ImageSet, queries: int | None = None) -> Episodes:
        """Return episodes of `way` classes of undistorted `images`, with `queries` query images of each class.

        Raises: InputError that names the class with too few images, or if there are fewer classes than `way`.
        """
        counts, most = shot_counts(self.shots, least=1), queries or self.queries_of(images.sizes)
        return images.episodes(self.way, counts, most, rotations=self.rotations, within=self.within)

    def queries_of(self, sizes: Sequence[int]) -> int:
        """Return the number of query images of each class in an episode of classes with `sizes` images."""
        return self.queries or self._recipe.fitting(sizes, shot_counts(self.shots, least=1))

    def plan(self) -> Plan:
        return self._recipe.plan(steps=self.steps, batch=self.batch, learning_rate=self.learning_rate, seed=self.seed)

    def learner(self, way: int | None = None) -> AbstractLearner:
        """Return the fitted learner in its form for `way` classes (None: the number that was fitted).

        Raises: InputError before `fit`, or for another number of classes than its network has outputs.
        """
        learner = self.fitted().method.answerer
        if way not in (None, self.way) and not takes_any_number(learner):
            raise InputError(f"way is {way} and the model has {self.way} outputs: use {self.way}, or fit with a way of {way}.")
        return for_classes(learner, self.way, way or self.way)

    def adapt(self, X_few: ImagesLike, y_few: ArrayLike | None = None) -> AdaptedClasses:
        """Return a new object: the model adapted to the classes of some labelled images.

        - `X_few`: an array of images, or a folder of class folders. Methods like prototypes take any number of classes, and
          others up to `way`.
        - `y_few`: labels of any kind.

        Raises: InputError before `fit`, or if images and labels do not fit.
        """
        return AdaptedClasses.start(self.fitted(), self.form_, self.way, X_few, y_few, self.seed)

    def about(self) -> dict[str, Any]:
        return self._about(self.form_, self.notes_)

    def _about(self, form: Form, notes: dict[str, Any]) -> dict[str, Any]:
        return self.described() | {"form": asdict(form), "notes": notes, "seen": self.seen_}

    @classmethod
    def load(cls, path: str | Path, *, method: Method | None = None) -> FewShotClassifier:
        """Return the saved model at `path`, ready to adapt. The images that it was fitted on are not needed.

        `method` is needed only for a model that was fitted with a `Method` of Python code, which the file does not hold.
        Raises: InputError if the folder holds no saved model or a damaged one.
        """
        with read_from(path):
            about, params, run = saved(path, cls.__name__, "classifier of images", method)
            model = cls(**params)
            model.run_, model.form_, model.notes_ = run, Form.from_json(about["form"]), about["notes"]
            model.seen_ = list(about.get("seen", ()))
        return model


def _sketches(images: ImageSet) -> list[str]:
    """Return a sketch of the images of each class."""
    return [sketch(images.pixels[rows].reshape(len(rows), -1)) for rows in images.rows]
