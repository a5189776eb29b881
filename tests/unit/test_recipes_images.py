"""Recipes of few-shot images: every one builds, trains on its own episodes, and answers for another way."""

import jax
import numpy as np
import pytest
from cases import is_one_sentence, jit

from bmaml.errors import InputError
from bmaml.images import from_arrays
from bmaml.recipes_images import RECIPES, build_image_method, build_image_plan, build_image_tasks, for_way


def images(side=6, classes=8):
    """Noise by class; with the four turns 32 classes."""
    rng = np.random.default_rng(0)
    return from_arrays(rng.uniform(size=(10 * classes, side, side)), np.repeat(np.arange(classes), 10))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_on_its_episodes_and_answers_for_the_way_it_is_judged_at(name):
    source, way = images(), 3
    method = build_image_method(name, source.shape, way, filters=4)
    trained = build_image_tasks(name, source, way, rotations=True)
    learner = for_way(name, method, way).learner
    judged = source.episodes(way, 1, 2)
    assert trained.way >= way
    assert build_image_plan(name).steps > build_image_plan(name, steps=3).steps == 3

    def probabilities(key):
        task = judged.sample(key)
        return learner.adapt(learner.init(key), task.support, key=key).predict(task.query.x).mean

    assert jax.eval_shape(probabilities, jax.random.key(0)).shape == (2 * way, way)
    if name in ("protonet", "ridge"):  # The others are run, and not only traced, by the tests of their learners.
        np.testing.assert_allclose(jit(probabilities)(jax.random.key(0)).sum(-1), 1, rtol=1e-5)


def test_larger_images_get_conv4_and_what_is_unknown_is_refused():
    assert type(build_image_method("protonet", (28, 28, 1), 5).learner.extractor).__name__ == "Conv4"
    for name, settings in (("protnet", {}), ("maml", {"size": 1})):
        with pytest.raises(InputError) as caught:
            build_image_method(name, (28, 28, 1), 5, **settings)
        assert is_one_sentence(caught.value, tells=r"\b(use|leave)\b")
