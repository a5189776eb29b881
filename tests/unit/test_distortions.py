"""Distortions of images: none at a strength of 0, a shift and a turn that can be seen, and each image its own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import is_one_sentence, jit

from bmaml.errors import InputError
from bmaml.estimators.classifier import FewShotClassifier
from bmaml.images import from_arrays
from bmaml.recipes.images import image_recipe
from bmaml.tasks.distortions import _read, distorted
from bmaml.training.run import source


def noise(*shape):
    return jax.random.uniform(jax.random.key(7), shape)


def drawings(classes=3, count=4, side=16):
    """Noise by class."""
    pixels = np.asarray(noise(classes * count, side, side))
    return from_arrays(pixels, np.repeat(np.arange(classes), count))


def blob(at, side=41, width=3.0):
    """An image of one round spot at row and column `at`."""
    pixels = jnp.linspace(0, side - 1, side)
    rows, columns = (jnp.exp(-((pixels - middle) ** 2) / (2 * width**2)) for middle in at)
    return (rows[:, None] * columns[None])[..., None]


def middles(images):
    """The mean row and column of each image's brightness."""
    weights = images[..., 0] / images.sum((1, 2, 3))[:, None, None]
    place = jnp.linspace(0, images.shape[1] - 1, images.shape[1])
    return jnp.stack([jnp.einsum("nij,i->n", weights, place), jnp.einsum("nij,j->n", weights, place)], -1)


def distort(images, strength, seed=0):
    """Distorted images, by one program."""
    return np.asarray(jit(lambda images, key: distorted(images, strength, key=key))(images, jax.random.key(seed)))


def test_no_strength_changes_nothing():
    images = noise(3, 9, 6, 2)
    np.testing.assert_allclose(distort(images, 0.0), images, atol=2e-6)


def test_pixels_are_read_between_pixels_and_on_the_edge_beyond_it():
    """A plane is its own interpolation, so what is read is the plane at the clipped place."""
    height, width = 5, 7
    plane = (10 * jnp.linspace(0, height - 1, height)[:, None] + jnp.linspace(0, width - 1, width)[None])[None, ..., None]
    rows, columns = (jax.random.uniform(jax.random.key(i), (1, height, width), minval=-3, maxval=9) for i in (0, 1))
    expected = 10 * jnp.clip(rows, 0, height - 1) + jnp.clip(columns, 0, width - 1)
    np.testing.assert_allclose(_read(plane, rows, columns)[..., 0], expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("strength", [1.0, 5.0])
def test_no_value_leaves_the_range_of_its_image(strength):
    images = np.asarray(noise(20, 12, 12, 3))
    found = distort(images, strength)
    assert found.shape == images.shape
    axes = (1, 2)
    assert (found.min(axes) >= images.min(axes) - 1e-6).all()
    assert (found.max(axes) <= images.max(axes) + 1e-6).all()


def test_each_image_has_its_own_and_the_same_key_gives_the_same():
    images = jnp.broadcast_to(noise(1, 12, 12, 1), (4, 12, 12, 1))
    found = distort(images, 1.0)
    np.testing.assert_array_equal(found, distort(images, 1.0))
    assert (np.abs(found - distort(images, 1.0, seed=1)).max() > 0.1).all()
    for one in range(4):
        for other in range(one):
            assert np.abs(found[one] - found[other]).max() > 0.1


def test_a_spot_stays_near_and_goes_nowhere_on_average():
    """The middle moves with the shift and the smooth field; both have mean 0, and a spot off the middle turns and stretches."""
    count = 2000
    for at in ((20.0, 20.0), (11.0, 24.0)):
        images = jnp.broadcast_to(blob(at)[None], (count, 41, 41, 1))
        found = np.asarray(middles(jit(lambda x: distorted(x, 1.0, key=jax.random.key(3)))(images)))
        np.testing.assert_allclose(found.mean(0), at, atol=0.35)
        # In half sides of 20 pixels: a uniform shift of up to 0.12, and a field of about 16 / 4 waves of 0.04.
        assert 1.5 < found[:, 0].std() < 3.5


def test_an_episode_distorts_each_image_alone_and_keeps_its_draw():
    tasks = drawings().episodes(2, 1, 2)

    def drawn(strength):
        return jit(lambda key: dataclasses.replace(tasks, distort=strength).sample(key))(jax.random.key(1))

    plain, weak, changed = drawn(0.0), drawn(1e-6), drawn(1.0)
    for part in ("support", "query"):
        one, other = getattr(plain, part), getattr(changed, part)
        np.testing.assert_array_equal(one.y, other.y)
        np.testing.assert_allclose(getattr(weak, part).x, one.x, atol=1e-4)
        assert (jnp.abs(one.x - other.x).max(1) > 0.05).all()
        assert other.x.min() >= 0
        assert other.x.max() <= 1


def test_support_and_query_are_distorted_independently():
    """With one and the same image everywhere, all rows of an episode differ."""
    same = np.broadcast_to(np.asarray(noise(1, 16, 16)), (8, 16, 16))
    tasks = from_arrays(same, np.repeat([0, 1], 4)).episodes(2, 1, 2, distort=1.0)
    task = jit(lambda key: tasks.sample(key))(jax.random.key(0))
    rows = np.concatenate([task.support.x, task.query.x])
    gaps = np.abs(rows[:, None] - rows[None]).max(-1)
    assert (gaps[~np.eye(len(rows), dtype=bool)] > 0.05).all()


def test_training_is_distorted_and_scoring_is_not(tmp_path):
    images = drawings()
    FewShotClassifier("protonet", way=2, filters=4, distort=0.5, steps=1).fit(images, directory=tmp_path / "model")
    model = FewShotClassifier.load(tmp_path / "model")
    assert (model.distort, source(tmp_path / "model").distort) == (0.5, 0.5)
    assert model.episodes(images).distort == 0
    assert model.asked(images, (1,)).distort == 0
    assert image_recipe("protonet").episodes(images, 2, distort=0.5).distort == 0.5


def test_a_strength_below_zero_is_refused():
    for wrong in (-0.1, float("nan")):
        with pytest.raises(InputError) as caught:
            drawings().episodes(2, 1, 2, distort=wrong)
        assert is_one_sentence(caught.value)
        with pytest.raises(InputError):
            FewShotClassifier(distort=wrong).fit(drawings())
