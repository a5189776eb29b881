"""The classifier of images: fitting, adapting to any labels, what to label next, saving; and when not to answer."""

import dataclasses

import numpy as np
import pytest
from cases import is_one_sentence

import bmaml
from bmaml.errors import InputError
from bmaml.estimators.classifier import FewShotClassifier
from bmaml.estimators.held_out_classes import best_threshold, score_episodes
from bmaml.images import from_arrays
from bmaml.images.rows import image_rows
from bmaml.methods import emaml, shared
from bmaml.models import MLP, CategoricalModel

RNG = np.random.default_rng(0)
SIDE = 8


def patterns(classes, count, seed, noise=0.08):
    """Noisy pictures of random patterns, a pattern a class, and their labels."""
    rng = np.random.default_rng(seed)
    clean = rng.uniform(0.2, 0.8, (classes, 1, SIDE, SIDE))
    pixels = np.clip(clean + noise * rng.normal(size=(classes, count, SIDE, SIDE)), 0, 1)
    return pixels, np.repeat([f"pattern {i}" for i in range(classes)], count)


@pytest.fixture(scope="module")
def model():
    x, y = patterns(12, 10, 0)
    return FewShotClassifier(way=3, shots=(1, 2), steps=60).fit(x.reshape(-1, SIDE, SIDE), y)


@pytest.fixture(scope="module")
def unseen():
    """Two labelled pictures of each of three new classes, and ten more of each."""
    x, _ = patterns(3, 12, 1)
    names = np.array(["ant", "bee", "cow"])
    return (x[:, :2].reshape(-1, SIDE, SIDE), names.repeat(2)), (x[:, 2:].reshape(-1, SIDE, SIDE), names.repeat(10))


def refused(action, tells):
    with pytest.raises(InputError, match=tells) as error:
        action()
    assert is_one_sentence(error.value, tells=r"\b(use|give|call|load|resume|parameters are)\b"), error.value


def test_new_classes_are_told_apart_by_the_users_own_labels(model, unseen):
    (x, y), (qx, qy) = unseen
    task = model.adapt(x, y)
    assert list(task.classes_) == ["ant", "bee", "cow"]
    p = task.predict_proba(qx)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    assert (task.predict(qx) == qy).mean() > 0.9
    np.testing.assert_array_equal(task.predict(qx), task.classes_[p.argmax(1)])
    numbered = model.adapt(x, [{"ant": 30, "bee": 4, "cow": 100}[name] for name in y])
    assert set(numbered.predict(qx)) == {30, 4, 100}
    np.testing.assert_array_equal(task.predict_proba(qx[:1]), p[:1], "no image sees another")
    np.testing.assert_allclose(task.predict_proba((qx * 255).round().astype(np.uint8)), p, atol=0.03)


def test_the_order_of_the_labelled_images_does_not_matter_and_observing_makes_a_new_object(model, unseen):
    (x, y), (qx, _) = unseen
    task, order = model.adapt(x, y), np.random.default_rng(0).permutation(len(x))
    np.testing.assert_allclose(model.adapt(x[order], y[order]).predict_proba(qx), task.predict_proba(qx), atol=1e-5)
    two = model.adapt(x[:4], y[:4])
    three = two.observe(x[4:], y[4:])
    assert list(two.classes_) == ["ant", "bee"]
    np.testing.assert_allclose(three.predict_proba(qx), task.predict_proba(qx), atol=1e-5)
    more, names = patterns(6, 1, 3)
    assert model.adapt(more.reshape(-1, SIDE, SIDE), names).predict_proba(qx).shape == (30, 6), "class means take any number"


def test_the_picture_between_two_classes_is_worth_labelling_first(model, unseen):
    (x, y), (qx, _) = unseen
    between = 0.5 * (qx[:1] + qx[10:11])
    task = model.adapt(x, y)
    assert task.suggest(np.concatenate([qx[:3], qx[20:23], between]))[0] == 6
    assert len(set(task.suggest(qx, 5, "random"))) == 5
    assert len(repr(task)) < 80


def test_a_further_picture_is_picked_by_a_model_that_was_told_its_own_answer_to_the_first(model, unseen):
    (x, y), (qx, _) = unseen
    task = model.adapt(x[:4], y[:4])
    first, second = task.suggest(qx, 2)
    told = task.observe(qx[[first]], task.predict(qx[[first]]))
    assert np.delete(np.arange(30), first)[told.suggest(np.delete(qx, first, 0))[0]] == second


def test_suggestions_that_cannot_be_made_are_refused(model, unseen):
    (x, y), (qx, _) = unseen
    task = model.adapt(x, y)
    refused(lambda: task.suggest(qx, 31), "from a pool of 30")
    with pytest.raises(TypeError, match="needs particles or a known noise"):
        task.suggest(qx, 1, "information")


def test_a_saved_model_answers_the_same_and_a_run_in_a_folder_is_one(model, unseen, tmp_path):
    (x, y), (qx, _) = unseen
    model.save(tmp_path / "model")
    again = FewShotClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(again.adapt(x, y).predict_proba(qx), model.adapt(x, y).predict_proba(qx))
    given = FewShotClassifier.load(tmp_path / "model", method=model.run_.method)
    np.testing.assert_array_equal(given.adapt(x, y).predict_proba(qx), model.adapt(x, y).predict_proba(qx))
    assert again.get_params() == model.get_params() | {"shots": [1, 2]}
    assert repr(again.set_params(shots=1)) == "FewShotClassifier(way=3, steps=60)"
    refused(lambda: bmaml.FewShotRegressor.load(tmp_path / "model"), "no fitted table model")
    refused(lambda: model.save(tmp_path / "model"), "already holds a run")


def test_what_does_not_fit_is_said_in_one_sentence(model, unseen):
    (x, y), (qx, _) = unseen
    refused(lambda: FewShotClassifier().adapt(x, y), "not fitted")
    refused(lambda: model.adapt(x[:2], y[:2]), "at least two classes")
    refused(lambda: model.adapt(x), "classes of the images are missing")
    refused(lambda: model.adapt(x, y[:-1]), r"y has shape \(5,\)")
    refused(lambda: model.adapt(x[:, 1:], y), "shape")
    refused(lambda: model.adapt(x, y).predict(qx * 3), "outside 0 to 1")
    refused(lambda: FewShotClassifier("protonets", way=2).fit(x, y), "did you mean 'protonet'")
    refused(lambda: FewShotClassifier("maml", way=2, particles=5).fit(x, y), "one particle")
    refused(lambda: FewShotClassifier(way=4).fit(x, y), "way is 4")
    refused(lambda: FewShotClassifier(way=2, shots=2).fit(x, y), "class 'ant' has 2 images")
    refused(lambda: FewShotClassifier(way=2, network="conv4").fit(x, y), "at least 16 pixels")
    refused(lambda: FewShotClassifier().fit(x), "y is missing")
    refused(lambda: FewShotClassifier().set_params(wey=3), "wey")


def test_a_network_with_fixed_outputs_takes_fewer_classes_and_refuses_more(unseen):
    (x, y), (qx, _) = unseen
    images = from_arrays(*[part.reshape(-1, SIDE, SIDE) if part.ndim == 4 else part for part in patterns(6, 4, 2)])
    two_heads = shared(MLP((64, 8)), emaml(CategoricalModel(MLP((8, 3))), particles=2))
    model = FewShotClassifier(two_heads, way=3, steps=1, batch=1).fit(images)
    p = model.adapt(x[:4], y[:4]).predict_proba(qx)
    assert p.shape == (30, 2)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    assert len(model.adapt(x[:4], y[:4]).suggest(qx, 2, "information")) == 2
    more, names = patterns(4, 1, 3)
    refused(lambda: model.adapt(more.reshape(-1, SIDE, SIDE), names), "4 classes")


def test_the_threshold_is_the_lowest_that_keeps_the_wanted_accuracy():
    sure = np.array([0.9, 0.8, 0.7, 0.6, 0.6, 0.5])
    assert best_threshold(sure, np.array([1, 1, 1, 1, 1, 0]), 0.95) == (0.6, 5 / 6, 1.0)
    assert best_threshold(sure, np.array([1, 1, 1, 1, 0, 1]), 0.95) == (0.7, 0.5, 1.0), "equally sure ones go together"
    assert best_threshold(sure, np.ones(6)) == (0.5, 1.0, 1.0)
    assert best_threshold(sure, np.zeros(6)) == (1.0, 0.0, None)


def test_scores_of_held_out_classes_agree_with_asking_the_model(model):
    x, y = patterns(8, 10, 5, noise=0.15)
    tasks = model.episodes(from_arrays(x.reshape(-1, SIDE, SIDE), y))
    scores = score_episodes(model.learner(), model.run_.meta, tasks, 40)
    assert 0.9 < scores.accuracy.value <= 1
    assert scores.accuracy.low < scores.accuracy.value
    assert scores.accuracy.high > scores.accuracy.value
    assert 0 < scores.nll.value < np.log(3)
    assert 0 < scores.answered <= 1
    assert scores == score_episodes(model.learner(), model.run_.meta, tasks, 40)


def test_images_with_dark_and_bright_exchanged_are_said():
    rng = np.random.default_rng(3)
    bright_ink = (rng.random((20, SIDE, SIDE)) < 0.1).astype(float)
    images = from_arrays(bright_ink, np.arange(20) % 4)
    form = dataclasses.replace(images.form, brightness=images.brightness())
    with pytest.warns(UserWarning, match=r"mean brightness of 0\.\d\d, .* dark and bright look exchanged; give 255 - images"):
        image_rows(1 - bright_ink, form)
    image_rows(bright_ink, form)
    image_rows(np.ones((1, SIDE, SIDE)) * 0.5, form)
