"""Few-shot classification of images in scikit-learn's manners: fit on many classes, adapt to new ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from bmaml.errors import InputError
from bmaml.estimators.base import AbstractEstimator, read_from, saved
from bmaml.estimators.classifier_task import AdaptedClasses
from bmaml.images import ImageSet, from_arrays, read_images
from bmaml.images.decode import Form
from bmaml.images.rows import ImagesLike
from bmaml.learners.base import AbstractLearner
from bmaml.learners.resized import for_classes
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

    `method` is a name (`bmaml.methods.fitting("classes")`) or a `Method` over flat images. It trains on episodes of `way`
    classes (methods by class means and the like: of up to 30, which makes better features) with `shots` images of each to
    learn from (one count or several) and `queries` to tell apart (at most what the smallest class leaves). `network` is as
    in `bmaml.models.by_name.image_network`. `rotations` makes classes of turned images, for drawings and the like; `within`
    draws an episode's classes from one superclass. Files are resized to `size`, which they need unless they are all of one
    size. It trains for `steps` meta-steps of `batch` episodes, the optimiser's rate `learning_rate`. What is None is the
    method's recipe's (`bmaml.methods.METHODS`). `progress` is True for a line on stderr now and then, or a
    `bmaml.training.loop.Progress`.
    """

    def __init__(
        self,
        method: str | Method = "protonet",
        *,
        way: int = 5,
        shots: Shots = 1,
        queries: int | None = None,
        particles: int | None = None,
        network: Network = "auto",
        filters: int | None = None,
        size: int | Sequence[int] | None = None,
        rotations: bool = False,
        within: bool = False,
        steps: int | None = None,
        batch: int | None = None,
        learning_rate: float | None = None,
        seed: int = 0,
        progress: bool | Progress = False,
    ):
        self.method, self.way, self.shots, self.queries, self.particles = method, way, shots, queries, particles
        self.network: Network = network
        self.filters, self.size, self.rotations, self.within = filters, size, rotations, within
        self.steps, self.batch, self.learning_rate, self.seed, self.progress = steps, batch, learning_rate, seed, progress

    def fit(
        self,
        X: ImagesLike,
        y: ArrayLike | None = None,
        *,
        superclasses: ArrayLike | str | Path | None = None,
        directory: str | Path | None = None,
        notes: dict[str, Any] | None = None,
    ) -> FewShotClassifier:
        """Meta-train on the images of many classes; returns self.

        `X` is a folder or zip of class folders (`superclasses`: a CSV of classes and superclasses), an `ImageSet`, or an
        array of images (see `bmaml.images.from_arrays`) with a label of any kind for each in `y`. With a `directory` the
        run is saved there as it goes, naming the files of the images, and `load` reads it; `notes` (JSON) are kept with it.
        Raises: InputError naming the file or class that does not fit.
        """
        images = self._images(X, y, superclasses)
        tasks = self.episodes(images)
        method = self.method
        if isinstance(method, str):
            way = self._recipe.training_way(images, self.way, rotations=self.rotations, within=self.within)
            tasks = dataclasses.replace(tasks, way=way)
            options = {"particles": self.particles, "network": self.network, "filters": self.filters}
            method = build_image_method(method, images.shape, way, **options)
        form, own = images.form, notes or {}
        about = self._about(form, own)
        self.run_ = train(method, tasks, self.plan(), directory=directory, about=about, progress=self.progress)
        self.form_, self.notes_ = form, own
        return self

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
            raise InputError(f"superclasses of an array of images are at {superclasses}: give one for each image.")
        return from_arrays(X, y, superclasses=superclasses)

    def episodes(self, images: ImageSet, queries: int | None = None) -> Episodes:
        """Return episodes of `way` classes of some images.

        Raises: InputError naming the class with too few images, or where there are fewer classes than `way`.
        """
        counts = shot_counts(self.shots, least=1)
        most = queries or self.queries or self._recipe.fitting(images, counts)
        return images.episodes(self.way, counts, most, rotations=self.rotations, within=self.within)

    def plan(self) -> Plan:
        return self._recipe.plan(steps=self.steps, batch=self.batch, learning_rate=self.learning_rate, seed=self.seed)

    def learner(self) -> AbstractLearner:
        """Return the fitted learner as it tells `way` classes apart.

        Raises: InputError before `fit`.
        """
        return for_classes(self.fitted().method.answerer, self.way, self.way)

    def adapt(self, X_few: ImagesLike, y_few: ArrayLike | None = None) -> AdaptedClasses:
        """Return the model adapted to the classes of some labelled images, a new object; this one stays as it is.

        `X_few` is an array with labels of any kind in `y_few`, or a folder of class folders. Methods by class means and the
        like take any number of classes, others up to `way`.
        Raises: InputError before `fit`, or where images and labels do not fit.
        """
        return AdaptedClasses.start(self.fitted(), self.form_, self.way, X_few, y_few, self.seed)

    def about(self) -> dict[str, Any]:
        return self._about(self.form_, self.notes_)

    def _about(self, form: Form, notes: dict[str, Any]) -> dict[str, Any]:
        return self.described() | {"form": asdict(form), "notes": notes}

    @classmethod
    def load(cls, path: str | Path, *, method: Method | None = None) -> FewShotClassifier:
        """Return a saved model, ready to adapt; the images that it was fitted on are not needed.

        `method` is needed only for a model that was fitted with a `Method` of Python code, which the file does not hold.
        Raises: InputError where the folder holds no saved model or a damaged one.
        """
        with read_from(path):
            about, params, run = saved(path, cls.__name__, "classifier of images", method)
            model = cls(**params)
            model.run_, model.form_, model.notes_ = run, Form(**about["form"]), about["notes"]
        return model
