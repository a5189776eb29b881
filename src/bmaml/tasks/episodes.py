"""Few-shot episodes of images: N classes, with K support images and Q query images of each."""

from __future__ import annotations

import dataclasses
import itertools
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from bmaml.data import Data, Task
from bmaml.errors import InputError
from bmaml.io.checked import NotNegative, as_tuple
from bmaml.io.reference import AbstractReference, AbstractReferenced
from bmaml.io.registry import register
from bmaml.tasks.base import AbstractTasks, draw_shots
from bmaml.tasks.distortions import distorted
from bmaml.tasks.shots import shot_counts


@register("images/bank")
class Bank(AbstractReferenced):
    """Images on the device. Images of a class lie side by side, and so do the classes of a superclass.

    - `pixels`: `(images, height, width, channels)`.
    - `sizes`: number of images of each class, in order.
    - `superclasses`: number of classes of each superclass (an alphabet, a coarse label).
    - `classes`: names of the classes.
    - `origin`: where the pixels can be read again. A saved run then holds the origin instead of the pixels.

    Raises: InputError if sizes, superclasses and pixels do not add up.
    """

    pixels: UInt8[Array, "images height width channels"]
    sizes: tuple[int, ...] = eqx.field(static=True, converter=as_tuple)
    superclasses: tuple[int, ...] = eqx.field(static=True, converter=as_tuple)
    classes: tuple[str, ...] = eqx.field(static=True, converter=as_tuple)
    origin: AbstractReference | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        count = len(self.sizes)
        if not count or min(self.sizes) < 1 or sum(self.superclasses) != count or len(self.classes) != count:
            raise InputError(
                f"{count} classes, {len(self.classes)} names and superclasses of {sum(self.superclasses)} classes do not "
                "agree: give one size and one name for each class, and superclasses that add up to them."
            )
        if eqx.is_array(self.pixels) and len(self.pixels) != sum(self.sizes):
            raise InputError(
                f"there are {len(self.pixels)} images and the classes have {sum(self.sizes)}: use sizes that add up to them."
            )

    @property
    def reference(self):
        return self.origin

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        _, height, width, channels = self.pixels.shape
        return height, width, channels


@register("tasks/episodes")
class Episodes(AbstractTasks):
    """Few-shot classification tasks: Vinyals et al. (2016), https://arxiv.org/abs/1606.04080.

    Classes are drawn without replacement and numbered 0 to way - 1 in the order of the draw. Images of a class are drawn
    without replacement, so support and query share none. `x` is flat rows `(n, height * width * channels)` in [0, 1]. Support
    rows are ordered shot by shot (row i is of class i mod way), so the first k * way rows are the episode of k shots.

    - `bank`: the images.
    - `way`: classes of a task.
    - `shots`: support images of each class. Several counts are equally likely, and the support is padded to the largest.
    - `queries`: query images of each class.
    - `rotations`: whether each class turned by 90, 180 and 270 degrees is a class of its own.
    - `within`: whether all classes of a task come from one superclass (turned alike). Each superclass with enough classes is
      equally likely.
    - `distort`: strength of random distortions (`bmaml.tasks.distortions.distorted`), of each image in a way of its own. 0 is
      none. Meant for training.

    Raises: InputError that names a class with too few images, or if there are fewer classes than `way`.
    """

    bank: Bank
    way: int = eqx.field(static=True, default=5)
    shots: tuple[int, ...] = eqx.field(static=True, default=(1,), converter=partial(shot_counts, least=1))
    queries: int = eqx.field(static=True, default=15)
    rotations: bool = eqx.field(static=True, default=False)
    within: bool = eqx.field(static=True, default=False)
    distort: NotNegative = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        if self.way < 1 or self.queries < 1:
            raise InputError(
                f"way {self.way}, shots {list(self.shots)}, queries {self.queries}: give whole numbers of at least 1."
            )
        _check_images(self.bank, max(self.shots), self.queries)
        _check_classes(self)
        height, width, _ = self.bank.shape
        if self.rotations and height != width:
            raise InputError(f"images are {height}x{width} and only square ones can be turned: set rotations to False.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels that a row of `x` unflattens to."""
        return self.bank.shape

    @property
    def inputs(self):
        return int(np.prod(self.shape))

    @property
    def outputs(self):
        return self.way

    def support_rows(self, shots):
        return shots * self.way

    @property
    def limits(self):
        return None

    def sized(self, shots, queries):
        return dataclasses.replace(self, shots=shots, queries=queries)

    def sample(self, key):
        class_key, image_key, shot_key = jax.random.split(key, 3)
        # A key of its own, so that classes and images are those of the episode without distortions.
        support_key, query_key = jax.random.split(jax.random.fold_in(key, 3))
        classes, turns = self._classes(class_key)
        images = self._images(classes, image_key)
        most = max(self.shots)
        count = self.shots[0] if len(self.shots) == 1 else draw_shots(shot_key, self.shots)
        support = self._rows(images[:, :most], turns, support_key)
        given = jnp.repeat(jnp.arange(most) < count, self.way)
        query = self._rows(images[:, most:], turns, query_key)
        return Task(Data(support.x, support.y, jnp.where(given, support.mask, 0.0)), query)

    def _classes(self, key: PRNGKeyArray) -> tuple[Int[Array, " way"], Int[Array, " way"]]:
        """Return the classes of an episode and the quarter turns of each."""
        turned = 4 if self.rotations else 1
        count = len(self.bank.sizes)
        if not self.within:
            picked = _distinct(key, self.way, jnp.asarray(turned * count), turned * count)
            return picked % count, picked // count
        superclass_key, turn_key, key = jax.random.split(key, 3)
        sizes, starts = np.asarray(self.bank.superclasses), _starts(self.bank.superclasses)
        fit = np.flatnonzero(sizes >= self.way)
        superclass = jnp.asarray(fit)[jax.random.randint(superclass_key, (), 0, len(fit))]
        picked = _distinct(key, self.way, jnp.asarray(sizes)[superclass], int(sizes.max()))
        turn = jax.random.randint(turn_key, (), 0, turned)
        return jnp.asarray(starts, picked.dtype)[superclass] + picked, jnp.broadcast_to(turn, (self.way,))

    def _images(self, classes: Int[Array, " way"], key: PRNGKeyArray) -> Int[Array, "way each"]:
        """Return which images of each class are used, support first."""
        sizes = jnp.asarray(self.bank.sizes)[classes]
        each, most = max(self.shots) + self.queries, max(self.bank.sizes)
        keys = jax.random.split(key, self.way)
        picked = jax.vmap(lambda key, size: _distinct(key, each, size, most))(keys, sizes)
        return jnp.asarray(_starts(self.bank.sizes), picked.dtype)[classes][:, None] + picked

    def _rows(self, images: Int[Array, "way each"], turns: Int[Array, " way"], key: PRNGKeyArray) -> Data:
        """Return images as rows, class by class within a shot."""
        way, each = images.shape
        # Without this barrier XLA computes the numbers of images and turns again for every pixel, at four times the cost on a
        # CPU.
        images, turns = jax.lax.optimization_barrier((images, turns))
        pixels = self.bank.pixels.reshape(len(self.bank.pixels), -1)[images.T]
        if self.rotations:
            pixels = _turned(pixels, turns, self.shape)
        x = pixels.reshape(way * each, -1).astype(jnp.zeros(()).dtype) / 255
        if self.distort:
            x = distorted(x.reshape(-1, *self.shape), self.distort, key=key).reshape(x.shape)
        return Data(x, jnp.tile(jnp.arange(way), each), jnp.ones(way * each, x.dtype))


def _check_images(bank: Bank, shots: int, queries: int) -> None:
    fewest = int(np.argmin(bank.sizes))
    count = bank.sizes[fewest]
    if count < shots + queries:
        raise InputError(
            f"class {bank.classes[fewest]!r} has {count} image{'s' * (count != 1)} and an episode takes {shots} + {queries}: "
            "use fewer shots or queries, or remove the class."
        )


def _check_classes(tasks: Episodes) -> None:
    superclasses = tasks.bank.superclasses
    count = max(superclasses) if tasks.within else len(tasks.bank.sizes) * (4 if tasks.rotations else 1)
    if tasks.way > count:
        where = "the largest superclass has" if tasks.within else "there are"
        raise InputError(f"way is {tasks.way} and {where} {count} classes: use a way of at most {count}, or add classes.")


def _starts(sizes: tuple[int, ...]) -> np.ndarray:
    return np.array([0, *itertools.accumulate(sizes)][:-1])


def _distinct(key: PRNGKeyArray, count: int, total: Int[Array, ""], most: int) -> Int[Array, " count"]:
    """Return `count` different numbers below `total` (at most `most`). Every order is equally likely."""
    # The positions of the largest uniform numbers: this is one kernel under vmap, and picking one by one would be a loop.
    scores: Float[Array, " most"] = jnp.where(jnp.arange(most) < total, jax.random.uniform(key, (most,)), -1.0)
    return jax.lax.top_k(scores, count)[1]


def _turned(rows: Array, turns: Int[Array, " way"], shape: tuple[int, int, int]) -> Array:
    """Return square images as rows `(each, way, height * width * channels)`, turned anticlockwise by quarters."""
    # Reading pixels at the positions of a table costs a third of choosing between transposed and flipped copies.
    places = np.arange(np.prod(shape)).reshape(shape)
    table = np.stack([np.rot90(places, turn).ravel() for turn in range(4)])
    return jnp.take_along_axis(rows, jnp.asarray(table)[turns][None], -1, mode="promise_in_bounds")
