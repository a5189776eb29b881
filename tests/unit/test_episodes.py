"""Episodes: distinct classes and images, every one equally likely, turned as said, and saved by reference."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import is_one_sentence, jit

from bmaml.errors import InputError
from bmaml.tasks import Bank, Episodes
from bmaml.training.meta_step import draw_batch

SIZES, GROUPS = (4, 6, 3, 5), (1, 3)


def numbered(side=2):
    """A bank whose first pixel numbers the image, and whose second (in the corner) the class."""
    pixels = np.zeros((sum(SIZES), side, side, 1), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(sum(SIZES)) + 1
    pixels[:, 0, 1, 0] = np.repeat(np.arange(len(SIZES)), SIZES) + 100
    return Bank(jnp.asarray(pixels), SIZES, GROUPS, ("a", "b", "c", "d"))


def drawn(tasks, count, seed=0):
    """That many episodes: pixels as bytes, labels and masks of support and query."""
    batch = jit(draw_batch)(tasks, jax.random.split(jax.random.key(seed), count)).tasks
    assert batch.support.x.shape[-1] == tasks.inputs
    return [
        jax.tree.map(np.asarray, (jnp.round(part.x * 255).astype(int), part.y, part.mask))
        for part in (batch.support, batch.query)
    ]


def test_an_episode_shows_each_class_its_own_images_and_none_twice():
    tasks = Episodes(numbered(), 3, 2, 1)
    (x, y, mask), (qx, qy, qmask) = drawn(tasks, 300)
    assert x.shape == (300, 6, 4)
    assert qx.shape == (300, 3, 4)
    assert mask.all()
    assert qmask.all()
    classes = np.concatenate([x, qx], 1)[:, :, 1]
    images = np.concatenate([x, qx], 1)[:, :, 0]
    labels = np.concatenate([y, qy], 1)
    np.testing.assert_array_equal(y, np.tile(np.arange(3), (300, 2)), "shot by shot")
    for own, seen, label in zip(classes, images, labels, strict=True):
        assert len(set(seen)) == 9
        assert len(set(zip(own, label, strict=True))) == 3 == len(set(own)), "a label is a class"
    starts = np.cumsum([0, *SIZES])
    np.testing.assert_array_equal(np.digitize(images - 1, starts) - 1, classes - 100, "and shows its images")


def test_classes_orders_and_images_are_equally_likely():
    """Chi-square below its 0.999 quantile: 24 ordered pairs minus ties, and the images of a ragged class."""
    (x, _, _), _ = drawn(Episodes(numbered(), 2, 1, 1), 6000)
    pairs = Counter(map(tuple, x[:, :, 1].tolist()))
    assert len(pairs) == 12
    assert sum((n - 500) ** 2 / 500 for n in pairs.values()) < 31.3  # 11 degrees of freedom
    shown = Counter(x[:, :, 0][x[:, :, 1] == 101].tolist())
    expected = sum(shown.values()) / 6
    assert len(shown) == 6
    assert sum((n - expected) ** 2 / expected for n in shown.values()) < 20.5  # 5 degrees of freedom


def test_fewer_shots_are_masked_rows_of_the_same_episode():
    tasks = Episodes(numbered(), 2, (1, 2), 1)
    (x, _, mask), _ = drawn(tasks, 400)
    assert x.shape[1] == 4
    counts = Counter(map(tuple, mask.tolist()))
    assert set(counts) == {(1, 1, 0, 0), (1, 1, 1, 1)}
    assert 150 < counts[1, 1, 1, 1] < 250


def test_within_a_superclass_all_classes_are_of_one_with_enough():
    (x, _, _), _ = drawn(Episodes(numbered(), 2, 1, 1, within=True), 300)
    assert set(x[:, :, 1].ravel().tolist()) == {101, 102, 103}, "the first group has one class alone"


@pytest.mark.parametrize("within", [False, True])
def test_turned_classes_are_numpys_quarter_turns(within):
    bank = numbered(3)
    (x, _, _), (qx, _, _) = drawn(Episodes(bank, 3, 1, 1, rotations=True, within=within), 200)
    pixels = np.asarray(bank.pixels)[..., 0]
    turns = {tuple(np.rot90(image, k).ravel().tolist()): (i, k) for i, image in enumerate(pixels) for k in range(4)}
    found = np.array([[turns[tuple(row)] for row in task.tolist()] for task in np.concatenate([x, qx], 1)])
    np.testing.assert_array_equal(found[:, :3, 1], found[:, 3:, 1], "support and query of a class are turned alike")
    assert set(found[:, :, 1].ravel().tolist()) == {0, 1, 2, 3}
    alike = [len(set(task[:, 1].tolist())) == 1 for task in found]
    assert all(alike) == within


def test_an_episode_is_a_function_of_the_key():
    tasks = Episodes(numbered(), 2, 1, 1)
    a, b, c = drawn(tasks, 5), drawn(tasks, 5), drawn(tasks, 5, seed=1)
    np.testing.assert_array_equal(a[0][0], b[0][0])
    assert (a[0][0] != c[0][0]).any()


@pytest.mark.parametrize(
    ("options", "tells"),
    [
        ({"way": 5}, "way is 5 and there are 4 classes"),
        ({"way": 4, "within": True}, "the largest superclass has 3 classes"),
        ({"way": 2, "shots": 2, "queries": 2}, "class 'c' has 3 images and an episode takes 2 \\+ 2"),
        ({"way": 0}, "way 0"),
        ({"shots": ()}, "at least 1"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(options, tells):
    with pytest.raises(InputError, match=tells) as error:
        Episodes(numbered(), **{"way": 2, "shots": 1, "queries": 1} | options)
    assert is_one_sentence(error.value)


def test_only_square_images_are_turned_and_a_bank_must_add_up():
    wide = Bank(jnp.zeros((8, 2, 3, 1), jnp.uint8), (4, 4), (2,), ("a", "b"))
    with pytest.raises(InputError, match="2x3 and only square") as error:
        Episodes(wide, 2, 1, 1, rotations=True)
    assert is_one_sentence(error.value)
    for sizes, superclasses in (((4, 5), (2,)), ((4, 4), (3,)), ((8,), (1,))):
        with pytest.raises(InputError) as error:
            Bank(wide.pixels, sizes, superclasses, ("a", "b"))
        assert is_one_sentence(error.value)
