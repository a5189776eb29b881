"""A classifier adapted to one task: class probabilities by the user's labels, and what to label next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.estimators.padding import chunks, over_rows
from bmaml.estimators.picks import picks
from bmaml.images.decode import Form
from bmaml.images.rows import ImagesLike, Rows, image_rows
from bmaml.inference.acquisitions import CLASS_ACQUISITIONS
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.learners.predictor import Predictor
from bmaml.learners.resized import for_classes
from bmaml.tables.table import listed
from bmaml.training.run import Run

Worth = Literal["entropy", "information", "random"]
# Convolutions on more images at a time are no faster, and take memory.
_AT_ONCE = 256
_WORTH = {name: eqx.filter_jit(function) for name, function in CLASS_ACQUISITIONS.items()}


@dataclass(frozen=True)
class AdaptedClasses:
    """What is believed of one task after the labelled images seen so far; immutable.

    `classes_` are the task's labels, sorted. `X` is an array of shape (n, height, width), (n, height, width, channels) or
    (n, pixels), uint8 or from 0 to 1, a folder or zip of images (resized to the model's form), or an `ImageSet`.
    """

    run: Run[Data, AbstractPosterior]
    form: Form
    way: int
    x: np.ndarray
    labels: np.ndarray
    classes_: np.ndarray
    posterior: AbstractPosterior
    seed: int = 0

    @staticmethod
    def start(
        run: Run[Data, AbstractPosterior], form: Form, way: int, X: ImagesLike, y: ArrayLike | None = None, seed: int = 0
    ) -> AdaptedClasses:
        """Return the model adapted to labelled images; the labels of a folder of class folders are its folders' names.

        Raises: InputError where a label is missing, or images and labels do not fit.
        """
        rows = image_rows(X, form)
        return _adapted(run, form, way, rows.x, _labels(rows, y), seed)

    def __repr__(self) -> str:
        """Show the classes, and how many labelled images were seen."""
        return f"AdaptedClasses({listed(self.classes_.tolist(), 6)} from {len(self.labels)} images)"

    def observe(self, X: ImagesLike, y: ArrayLike | None = None) -> AdaptedClasses:
        """Return a new object that has also seen these labelled images; new labels become new classes.

        Raises: InputError as when adapting.
        """
        rows = image_rows(X, self.form)
        labels = np.array([*self.labels, *_labels(rows, y)], dtype=object)
        return _adapted(self.run, self.form, self.way, np.concatenate([self.x, rows.x]), labels, self.seed)

    def predict_proba(self, X: ImagesLike) -> np.ndarray:
        """Return the probability of each class of `classes_` for each image, of shape (n, classes)."""
        return self.probabilities(image_rows(X, self.form))

    def predict(self, X: ImagesLike) -> np.ndarray:
        """Return the likeliest label of each image."""
        return self.classes_[self.predict_proba(X).argmax(1)]

    def probabilities(self, rows: Rows) -> np.ndarray:
        """Return `predict_proba` of images already in the model's form."""
        # A network with more outputs than the task has classes keeps some of its belief for classes that there are not.
        (p,) = over_rows(lambda x: (_probabilities(self.posterior, x),), rows.x, most=_AT_ONCE)
        p = p[:, : len(self.classes_)]
        return p / p.sum(1, keepdims=True)

    def suggest(self, X_pool: ImagesLike, n: int = 1, by: Worth = "entropy") -> np.ndarray:
        """Return the indices of the `n` images of a pool most worth labelling next, the best first.

        `by="entropy"` takes where the class is least sure, `"information"` where particles disagree most (the mutual
        information of the class and the particle), `"random"` any. After each pick the model is told the label that it holds
        for likeliest there, so that the next pick is elsewhere.
        Raises: InputError for more images than the pool has or an unknown `by`; PairError for information without particles.
        """
        rows = image_rows(X_pool, self.form)
        if by not in _WORTH or not 1 <= n <= len(rows):
            raise InputError(
                f"cannot suggest {n} images by {by!r} from a pool of {len(rows)}: give a number from 1 to {len(rows)}, "
                f"and by as one of {', '.join(_WORTH)}."
            )
        return picks(
            cast(AdaptedClasses, self), n, lambda task: task._worth(rows.x, by), lambda task, row: task._believe(rows.x[row])
        )

    def _worth(self, pool: np.ndarray, by: Worth) -> np.ndarray:
        """Return an acquisition at every image; random numbers depend on the seed and how many labels have been seen."""
        key = jax.random.fold_in(jax.random.key(self.seed), len(self.labels))
        parts = []
        for place, x in chunks(pool, _AT_ONCE):
            worth = _WORTH[by](self.posterior, x, key=jax.random.fold_in(key, place.start))
            parts.append(np.asarray(worth, np.float64)[: place.stop - place.start])
        return np.concatenate(parts)

    def _believe(self, image: np.ndarray) -> AdaptedClasses:
        """Return the task as if an image had the label that is likeliest."""
        (p,) = over_rows(lambda x: (_probabilities(self.posterior, x),), image[None])
        likeliest = self.classes_[p[0, : len(self.classes_)].argmax()]
        labels = np.array([*self.labels, likeliest], dtype=object)
        return _adapted(self.run, self.form, self.way, np.concatenate([self.x, image[None]]), labels, self.seed)


def _adapted(
    run: Run[Data, AbstractPosterior], form: Form, way: int, x: np.ndarray, labels: np.ndarray, seed: int
) -> AdaptedClasses:
    classes = np.array(sorted(set(labels.tolist()), key=str), dtype=object)
    if len(classes) < 2:
        raise InputError(f"all {len(labels)} labelled images are {classes[0]!r}: give images of at least two classes.")
    place = {label: i for i, label in enumerate(classes.tolist())}
    y = np.array([place[label] for label in labels.tolist()], np.int32)
    support = Data(jnp.asarray(x), jnp.asarray(y), jnp.ones(len(y), x.dtype))
    predictor = Predictor(for_classes(run.method.answerer, way, len(classes)), run.meta)
    posterior = predictor.adapt(support, key=jax.random.key(seed))
    return AdaptedClasses(run, form, way, x, labels, classes, posterior, seed)


def _labels(rows: Rows, y: ArrayLike | None) -> np.ndarray:
    if y is None:
        if not all(rows.folders):
            raise InputError(
                "the classes of the images are missing: give y, or a folder with a folder of images for each class."
            )
        return np.array(rows.folders, dtype=object)
    labels = np.asarray(y)
    if labels.shape != (len(rows),):
        raise InputError(f"y has shape {labels.shape} and there are {len(rows)} images: give one label for each.")
    return np.array(labels.tolist(), dtype=object)


@eqx.filter_jit
def _probabilities(posterior: AbstractPosterior, x: jax.Array) -> jax.Array:
    return posterior.predict(x).mean
