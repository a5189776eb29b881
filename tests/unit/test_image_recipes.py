"""Recipes of few-shot images: every one builds, trains on its own episodes, and answers for another way."""

import jax
import numpy as np
import pytest
from cases import is_one_sentence, jit

from bmaml.errors import InputError
from bmaml.estimators.classifier import FewShotClassifier
from bmaml.images import from_arrays
from bmaml.learners.resized import for_classes
from bmaml.learners.wrappers import core
from bmaml.methods import fitting
from bmaml.models.by_name import image_network
from bmaml.recipes.images import build_image_method, compared, image_recipe


def images(side=6, classes=8, count=10):
    """Noise by class; with the four turns four times as many classes."""
    rng = np.random.default_rng(0)
    return from_arrays(rng.uniform(size=(count * classes, side, side)), np.repeat(np.arange(classes), count))


@pytest.mark.parametrize("name", compared())
def test_a_recipe_trains_on_its_episodes_and_answers_for_the_way_it_is_judged_at(name):
    source, way, recipe = images(), 3, image_recipe(name)
    trained = recipe.episodes(source, way, rotations=True)
    method = build_image_method(name, source.shape, trained.way, filters=4)
    learner = for_classes(method.learner, way, way)
    judged = source.episodes(way, 1, 2)
    assert trained.way >= way
    assert recipe.plan().steps > recipe.plan(steps=3).steps == 3

    def probabilities(key):
        task = judged.sample(key)
        return learner.adapt(learner.init(key), task.support, key=key).predict(task.query.x).mean

    assert jax.eval_shape(probabilities, jax.random.key(0)).shape == (2 * way, way)
    if name in ("protonet", "ridge"):  # The others are run, and not only traced, by the tests of their learners.
        np.testing.assert_allclose(jit(probabilities)(jax.random.key(0)).sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", fitting("classes"))
def test_every_method_of_classes_is_made_for_images(name):
    """Small images get layers, large ones convolutions; the networks' widths agree with what they are followed by."""
    for shape, network in (((8, 8, 1), "MLP"), ((16, 16, 3), "Conv4")):
        assert network in str(build_image_method(name, shape, 4))
    extractor, width = image_network("resnet12", (16, 16, 1), None, 4)
    assert width == extractor.features == 32


def test_a_recipe_takes_what_few_images_and_classes_leave():
    recipe, few = image_recipe("protonet"), images(classes=3, count=4)
    assert recipe.training_way(few, 2) == 3
    assert recipe.tuned.way > 3
    assert recipe.training_way(few, 2, rotations=True) == 12
    assert recipe.training_way(few, 2, within=True) == 2
    assert recipe.episodes(few, 2, (1, 3)).queries == 1
    changed = image_recipe("maml").plan(steps=7, batch=6, learning_rate=0.5, seed=1)
    assert (changed.steps, changed.batch, changed.outer.learning_rate, changed.seed) == (7, 6, 0.5, 1)
    assert changed.batch % changed.accumulation_steps == 0


def test_a_learner_answers_with_the_steps_of_its_recipe():
    """Stein particles go on for longer than in training, whoever asks; all others do as they were trained."""
    for name, steps in (("shared-bmaml", 40), ("maml", 1)):
        assert core(build_image_method(name, (6, 6, 1), 3).answerer).steps == steps
    source = images()
    model = FewShotClassifier("shared-bmaml", way=3, particles=2, steps=1, batch=1).fit(source)
    assert core(model.learner()).steps == 40
    assert core(model.run_.method.learner).steps == 5
    assert model.adapt(source.pixels[:4], [0, 1, 2, 0]).predict_proba(source.pixels[:2]).shape == (2, 3)


def test_what_is_unknown_is_refused():
    for name, settings in (("protnet", {}), ("maml", {"size": 1}), ("maml", {"particles": 3})):
        with pytest.raises(InputError) as caught:
            build_image_method(name, (28, 28, 1), 5, **settings)
        assert is_one_sentence(caught.value, tells=r"\b(use|leave)\b")
