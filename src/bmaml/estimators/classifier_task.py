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
from bmaml.io.checked import Count, checked
from bmaml.io.notebook import facts_html
from bmaml.learners.predictor import Predictor
from bmaml.learners.resized import for_classes
from bmaml.tables.table import is_missing, listed
from bmaml.training.run import Run

Worth = Literal["entropy", "variance", "information", "reduction", "random"]
# Convolutions on more images at a time are not faster, and they take memory.
_AT_ONCE = 256
_WORTH = {name: eqx.filter_jit(function) for name, function in CLASS_ACQUISITIONS.items()}


@dataclass(frozen=True)
class AdaptedClasses:
    """A fitted model after it has seen some labelled images of one task. The object is immutable.

    `X` is an array of shape (n, height, width), (n, height, width, channels) or (n, pixels), uint8 or from 0 to 1, a folder or
    zip of images (resized to the model's form), or an `ImageSet`.

    - `run`, `form`, `way`: the fitted run, the form of its images, and its number of classes.
    - `x`, `labels`: the labelled images so far, as rows, and the class of each as an index.
    - `classes_`: the task's labels, sorted.
    - `posterior`: the adapted posterior.
    - `seed`: seed of adaptation and acquisitions.
    """

    run: Run[Data, AbstractPosterior]
    form: Form
    way: int
    x: np.ndarray
    labels: np.ndarray
    classes_: np.ndarray
    posterior: AbstractPosterior
    seed: int = 0

    def _repr_html_(self) -> str:
        """Say in a notebook which classes are told apart, and from how many images."""
        names = ", ".join(str(label) for label in self.classes_)
        facts = {"classes": names, "labelled images": len(self.labels), "method": self.run.method.name}
        return facts_html("AdaptedClasses", facts)

    @staticmethod
    def start(
        run: Run[Data, AbstractPosterior], form: Form, way: int, X: ImagesLike, y: ArrayLike | None = None, seed: int = 0
    ) -> AdaptedClasses:
        """Return the model of `run` adapted to labelled images.

        - `form`, `way`: form of the model's images, and its number of classes.
        - `X`, `y`: images and labels. The labels of a folder of class folders are the names of the folders.

        Raises: InputError if a label is missing, or images and labels do not fit.
        """
        rows = image_rows(X, form)
        return _adapted(run, form, way, rows.x, labels_of(rows, y), seed)

    def __repr__(self) -> str:
        """Show the classes, and how many labelled images were seen."""
        return f"AdaptedClasses({listed(self.classes_.tolist(), 6)} from {len(self.labels)} images)"

    def observe(self, X: ImagesLike, y: ArrayLike | None = None) -> AdaptedClasses:
        """Return a new object that has also seen the images `X` with labels `y`. New labels become new classes.

        Raises: InputError in the cases of `start`.
        """
        rows = image_rows(X, self.form)
        labels = np.array([*self.labels, *labels_of(rows, y)], dtype=object)
        return _adapted(self.run, self.form, self.way, np.concatenate([self.x, rows.x]), labels, self.seed)

    def predict_proba(self, X: ImagesLike) -> np.ndarray:
        """Return the probability of each class of `classes_` for each image of `X`, of shape (n, classes)."""
        return self.probabilities(image_rows(X, self.form))

    def predict(self, X: ImagesLike) -> np.ndarray:
        """Return the most likely label of each image of `X`."""
        return self.classes_[self.predict_proba(X).argmax(1)]

    def probabilities(self, rows: Rows) -> np.ndarray:
        """Return `predict_proba` of `rows`, images in the model's form."""
        # A network with more outputs than the task has classes gives some probability to classes that do not exist.
        (p,) = over_rows(lambda x: (_probabilities(self.posterior, x),), rows.x, most=_AT_ONCE)
        p = p[:, : len(self.classes_)]
        if not np.isfinite(p).all():
            raise InputError(
                f"the probabilities are not finite once the model has adapted to {len(self.labels)} images: fit the model "
                "again with a lower learning rate."
            )
        return p / p.sum(1, keepdims=True)

    @checked
    def suggest(self, X_pool: ImagesLike, n: Count = 1, by: Worth = "entropy") -> np.ndarray:
        """Return the indices of the `n` images of a pool that are most worth labelling next, the best first.

        - `X_pool`: the pool, in the form of `X`.
        - `by`: `"entropy"` and `"variance"` take the image with the least sure class, and `"information"` the one that would
          tell most of the task (the mutual information of class and task). `"reduction"` takes the image that makes the whole
          pool surest, and `"random"` any image. The names mean the same as for numbers.

        After each pick the model is told the most likely label there, so that the next pick is elsewhere.
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
        """Return an acquisition at every image. Random numbers depend on the seed and on the number of labels seen."""
        key = jax.random.fold_in(jax.random.key(self.seed), len(self.labels))
        parts = []
        for place, x in chunks(pool, _AT_ONCE):
            worth = _WORTH[by](self.posterior, x, key=jax.random.fold_in(key, place.start))
            parts.append(np.asarray(worth, np.float64)[: place.stop - place.start])
        return np.concatenate(parts)

    def _believe(self, image: np.ndarray) -> AdaptedClasses:
        """Return the task as if an image had its most likely label."""
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


def labels_of(rows: Rows, y: ArrayLike | None) -> np.ndarray:
    """Return the class of each of some `rows`: those of `y`, or the names of the folders.

    Raises: InputError if a class is missing, or there is another number of them.
    """
    if y is None:
        if not all(rows.folders):
            raise InputError(
                "the classes of the images are missing: give y, or a folder with a folder of images for each class."
            )
        return np.array(rows.folders, dtype=object)
    labels = np.asarray(y)
    if labels.shape != (len(rows),):
        raise InputError(f"y has shape {labels.shape} and there are {len(rows)} images: give one label for each.")
    named = np.array(labels.tolist(), dtype=object)
    missing = [row for row, label in enumerate(named.tolist()) if is_missing(label)]
    if missing:
        raise InputError(
            f"the label of image {missing[0]} (counted from 0) is {named[missing[0]]}: give a class to each image."
        )
    return named


@eqx.filter_jit
def _probabilities(posterior: AbstractPosterior, x: jax.Array) -> jax.Array:
    return posterior.predict(x).mean
