"""Recalibration against predictives whose error is known, and against new tasks."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FEATURES, fixed_tasks, jit
from jaxtyping import Array

from bmaml.data import Data, Task
from bmaml.distributions import (
    AbstractContinuous,
    Bernoulli,
    Categorical,
    DiscreteMixture,
    Mixture,
    NegativeBinomial,
    Normal,
    Pool,
    less_sure,
    of_shares,
)
from bmaml.errors import InputError
from bmaml.evaluation.curves import chosen, smoothed
from bmaml.evaluation.evaluate import evaluate
from bmaml.evaluation.recalibrate import recalibrate
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.learners import AbstractLearner, ConjugateLearner
from bmaml.learners.predictor import Predictor
from bmaml.tasks import FixedTasks, ambiguous
from bmaml.tasks.base import AbstractTasks

SPREAD = 0.4


class Noise(AbstractTasks):
    """Targets that are noise of deviation 0.4: normal, or a Student-t of four degrees of freedom with that scale."""

    heavy: bool = eqx.field(static=True, default=False)
    shots: tuple[int, ...] = eqx.field(static=True, default=(2, 6))
    queries: int = eqx.field(static=True, default=10)

    @property
    def inputs(self):
        return 1

    @property
    def outputs(self):
        return 1

    @property
    def limits(self):
        return None

    def sized(self, shots, queries):
        return Noise(self.heavy, shots, queries)

    def sample(self, key):
        support, query = jax.random.split(key)
        return Task(self._rows(support, max(self.shots)), self._rows(query, self.queries))

    def _rows(self, key, count):
        noise = jax.random.t(key, 4.0, (count, 1)) if self.heavy else jax.random.normal(key, (count, 1))
        return Data(jnp.zeros((count, 1)), SPREAD * noise, jnp.ones(count))


class Believed(AbstractPosterior):
    """A predictive of mean 0 and a given deviation, in one of three forms."""

    scale: Array
    form: str = eqx.field(static=True)

    def predict(self, x) -> AbstractContinuous:
        one = Normal(jnp.zeros_like(x), jnp.full_like(x, self.scale))
        two = Mixture(jnp.zeros(2), jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), one))
        return {"normal": one, "mixture": two, "pool": Pool(jnp.zeros(2), (one, two))}[self.form]

    def sample_functions(self, x, *, key, count=1):
        return jnp.zeros((count, len(x), 1))


class Sure(AbstractLearner):
    """Too sure by a factor of `meta` after two points, and half as much after six."""

    form: str = eqx.field(static=True, default="normal")

    def init(self, key):
        return jnp.asarray(4.0)

    def adapt(self, meta, support, *, key):
        factor = jnp.where(support.mask.sum() > 2, 0.5 * meta, meta)
        return Believed(SPREAD / factor, self.form)


@pytest.mark.parametrize("factor", [0.5, 4.0])
@pytest.mark.parametrize("form", ["normal", "mixture", "pool"])
def test_a_known_error_of_the_deviation_is_found_at_each_number_of_shots(factor, form):
    """2,000 tasks of 10 points: the standard error of a stretch is near 0.6%."""
    found = recalibrate(Predictor(Sure(form), jnp.asarray(factor)), Noise(), shots=(2, 6), count=2000)
    learner, meta = found.learner, found.meta
    np.testing.assert_allclose(jnp.exp(meta.change.log_stretch), [factor, 0.5 * factor], rtol=0.03)
    assert meta.change.tails.max() <= 0.05, "normal errors have no tails"
    rows = Data(*(jnp.zeros((8, 1)),) * 2, mask=(jnp.arange(8) < 4).astype(float))
    deviation = learner.adapt(meta, rows, key=jax.random.key(0)).predict(jnp.zeros((3, 1))).std
    # After four points, between two and six: the factor's root mean.
    expected = SPREAD / (0.5 * factor) * 0.5**0.5 * factor
    np.testing.assert_allclose(deviation, expected, rtol=0.12)


def test_heavy_tails_are_found_and_score_better_than_a_stretch_alone():
    found = recalibrate(Predictor(Sure(), jnp.asarray(1.0)), Noise(heavy=True), shots=(2,), count=2000)
    learner, meta = found.learner, found.meta
    assert meta.change.tails[0] == pytest.approx(0.25, abs=0.06), "four degrees of freedom"
    flat = dataclasses.replace(meta, change=dataclasses.replace(meta.change, tails=jnp.zeros(1)))
    scores = [
        evaluate(Predictor(learner, m), Noise(heavy=True), shots=(2,), count=200, queries=10).get("nll", 2).mean
        for m in (meta, flat)
    ]
    assert scores[0] < scores[1] - 0.01


class Apart(Sure):
    """Two particles ten deviations of the noise apart, so that their interval holds everything however sure each is."""

    def adapt(self, meta, support, *, key):
        return Wide(jnp.asarray(SPREAD), "mixture")


class Wide(Believed):
    """The two of them."""

    def predict(self, x):
        loc = jnp.stack([jnp.full_like(x, 5 * SPREAD), jnp.full_like(x, -5 * SPREAD)])
        return Mixture(jnp.zeros(2), Normal(loc, jnp.full_like(loc, self.scale)))


def test_what_no_interval_can_mend_becomes_as_likely_as_it_can_be():
    """Each particle is five deviations of the noise from the targets, about 26^(1/2) deviations in all."""
    meta = recalibrate(Predictor(Apart(), jnp.asarray(1.0)), Noise(), shots=(2,)).meta
    assert meta.change.held[0] == 1.0
    assert jnp.exp(meta.change.log_stretch[0]) == pytest.approx(26**0.5, rel=0.06)
    assert meta.change.tails[0] == 0.0


def some(count, rows, scale, seed=0):
    """Tasks of noise of deviation 0.4, each scaled by a factor of its own that is log-normal with the deviation `scale`."""
    own, noise = jax.random.split(jax.random.key(seed))
    y = SPREAD * jax.random.normal(noise, (count, rows, 1)) * jnp.exp(scale * jax.random.normal(own, (count, 1, 1)))
    return FixedTasks(Data(jnp.zeros_like(y), y, jnp.ones((count, rows))), (2, 6), 4)


def test_few_tasks_are_used_and_the_error_of_the_stretch_is_said():
    """Twenty recalibrations on 12 tasks each of a learner that is four times too sure, and twice after six points."""
    found = [recalibrate(Predictor(Sure(), jnp.asarray(4.0)), some(12, 12, 0.5, i), shots=(2, 6), count=60) for i in range(20)]
    off = np.array([one.meta.change.log_stretch - np.log([4.0, 2.0]) for one in found])
    said = np.array([one.meta.change.deviation for one in found])
    assert np.abs(off.mean(0)).max() < 0.25
    assert 0.5 < np.sqrt((off**2).mean() / (said**2).mean()) < 1.6
    assert said.min() > 0.05
    with pytest.raises(InputError, match="tasks of more than 2 points are 9, and a recalibration needs at least 10"):
        recalibrate(Predictor(Sure(), jnp.asarray(4.0)), some(9, 12, 0.5), shots=(2,))


def test_numbers_of_points_with_few_tasks_borrow_from_the_others():
    alone, known = np.diag([1e-4, 0.04, 1e-4]), np.array([0.5, 2.0, 0.5])
    mean, deviation = smoothed(np.array([1.0, 2.0, 3.0]), known, alone)
    assert 0.8 < mean[1] < 1.3
    np.testing.assert_allclose(mean[[0, 2]], 0.5, atol=0.02)
    assert deviation[1] > 5 * deviation[0]
    # Errors that all numbers of points share are no reason to differ.
    shared = smoothed(np.array([1.0, 2.0, 3.0]), known, alone + 0.04)[1]
    assert (shared > 0.15).all()
    assert chosen(np.array([[0.0, 9.0], [0.3, 0.0], [0.0, 9.0]]), np.array([0.0, 0.2])).tolist() == [0, 0, 0]
    assert chosen(np.array([[9.0, 0.0], [9.0, 0.0]]), np.array([0.0, 0.2])).tolist() == [1, 1]


class Certain(AbstractLearner):
    """Logits of three classes that are `meta` times too large. The truth is drawn from them before."""

    def init(self, key):
        return jnp.asarray(3.0)

    def adapt(self, meta, support, *, key):
        return Classes(meta)


class Classes(AbstractPosterior):
    """The classes of an input are drawn with its own logits."""

    factor: Array

    def predict(self, x):
        return Categorical(self.factor * x)

    def sample_functions(self, x, *, key, count=1):
        return jnp.broadcast_to(jax.nn.softmax(self.factor * x), (count, *x.shape))


class Labels(Noise):
    """Inputs are logits, and labels are drawn with them."""

    @property
    def inputs(self):
        return 3

    @property
    def outputs(self):
        return 3

    def sized(self, shots, queries):
        return Labels(self.heavy, shots, queries)

    def _rows(self, key, count):
        draw, label = jax.random.split(key)
        x = 2 * jax.random.normal(draw, (count, 3))
        return Data(x, jax.random.categorical(label, x), jnp.ones(count))


def test_the_temperature_of_classes_is_found():
    found = recalibrate(Predictor(Certain(), jnp.asarray(3.0)), Labels(), shots=(2, 6), count=2000)
    np.testing.assert_allclose(jnp.exp(found.meta.change.log_stretch), 3.0, rtol=0.05)
    np.testing.assert_allclose(found.meta.change.held, 0.73, atol=0.06)
    x = jnp.array([[1.0, 0.0, -1.0]])
    posterior = found.learner.adapt(found.meta, Data(x, jnp.array([0]), jnp.ones(1)), key=jax.random.key(0))
    np.testing.assert_allclose(posterior.predict(x).mean, jax.nn.softmax(x), atol=0.02)
    np.testing.assert_allclose(posterior.sample_functions(x, key=jax.random.key(0))[0], posterior.predict(x).mean, atol=1e-6)
    scores = [evaluate(one, Labels(), shots=(2,), count=400) for one in (Predictor(Certain(), jnp.asarray(3.0)), found)]
    assert scores[0].get("calibration", 2).mean > 0.1 > 3 * scores[1].get("calibration", 2).mean


class Coins(AbstractPosterior):
    """Yes or no with log odds that are three times too large."""

    def predict(self, x):
        return DiscreteMixture(jnp.zeros(1), Bernoulli(3.0 * x[None]))

    def sample_functions(self, x, *, key, count=1):
        return jnp.broadcast_to(jax.nn.sigmoid(3.0 * x), (count, *x.shape))


class TooSureOfYes(AbstractLearner):
    """Believes in `Coins`."""

    def init(self, key):
        return jnp.zeros(())

    def adapt(self, meta, support, *, key):
        return Coins()


class Answers(Noise):
    """Inputs are log odds, and yes or no is drawn with them."""

    def sized(self, shots, queries):
        return Answers(self.heavy, shots, queries)

    def _rows(self, key, count):
        draw, answer = jax.random.split(key)
        x = 2 * jax.random.normal(draw, (count, 1))
        return Data(x, jax.random.bernoulli(answer, jax.nn.sigmoid(x)).astype(float), jnp.ones(count))


def test_the_temperature_of_yes_and_no_is_found():
    found = recalibrate(Predictor(TooSureOfYes(), jnp.zeros(())), Answers(), shots=(2,), count=2000)
    np.testing.assert_allclose(jnp.exp(found.meta.change.log_stretch), 3.0, rtol=0.06)
    x = jnp.array([[1.0], [-2.0]])
    posterior = found.learner.adapt(found.meta, Data(x, jnp.zeros((2, 1)), jnp.ones(2)), key=jax.random.key(0))
    np.testing.assert_allclose(posterior.predict(x).mean, jax.nn.sigmoid(x), atol=0.02)
    np.testing.assert_allclose(posterior.sample_functions(x, key=jax.random.key(0))[0], posterior.predict(x).mean, atol=1e-6)


@jit
def less_sure_numbers(factor, share):
    """Mean and deviation of counts, the same of those counts less sure by a factor, their least variance, and levels."""
    counts = DiscreteMixture(jnp.zeros(2), NegativeBinomial(jnp.array([[[3.0]], [[3.0]]]), jnp.full((2, 1, 1), 2.0)))
    made, levels = less_sure(counts, factor), less_sure(DiscreteMixture(jnp.zeros(1), of_shares(share)), factor)
    numbers = counts.mean, counts.std, made.mean, made.std, less_sure(counts, 0.01).variance
    return [part[0, 0] for part in numbers], levels.components.probabilities


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_whole_numbers_are_less_sure_by_a_factor(factor):
    share = np.array([[[0.1, 0.2, 0.7]]], "f")
    (mean, std, made_mean, made_std, least), levels = less_sure_numbers(jnp.asarray(factor), share)
    np.testing.assert_allclose(made_mean, mean, rtol=1e-5)
    # No count is surer than a Poisson count.
    np.testing.assert_allclose(made_std, max(factor * std, mean**0.5), rtol=1e-4)
    np.testing.assert_allclose(least, mean, rtol=1e-4)
    np.testing.assert_allclose(levels, share ** (1 / factor) / (share ** (1 / factor)).sum(), rtol=1e-4)


def test_predictions_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="predictions after 2 shots are not finite"):
        recalibrate(Predictor(Sure(), jnp.asarray(jnp.nan)), Noise(), shots=(2,))


@pytest.mark.costly
def test_intervals_of_a_trained_learner_hold_on_new_tasks():
    """Experts that start at random are far off; 300 new tasks of 10 points."""
    learner = ConjugateLearner(FEATURES, particles=3)
    bare = jit(learner.init)(jax.random.key(0))
    shots = (2, 5)
    tasks = ambiguous(shots, 20)
    plain = Predictor(learner, bare)
    changed = recalibrate(plain, tasks, shots=shots)
    before, after = (evaluate(one, tasks, shots=shots, count=300, queries=10, seed=5) for one in (plain, changed))
    for given, held in zip(shots, changed.meta.change.held, strict=True):
        assert before.get("coverage", given).mean == pytest.approx(float(held), abs=0.04)
        assert after.get("coverage", given).mean == pytest.approx(0.9, abs=0.03)
        assert after.get("nll", given).mean < before.get("nll", given).mean
        assert after.get("mse", given).mean == pytest.approx(before.get("mse", given).mean, rel=1e-4), "means stay"


def test_short_tasks_are_left_out_where_they_have_nothing_to_ask_for():
    tasks = fixed_tasks(12)
    longest = int(np.asarray(tasks.rows.count).max())
    learner = ConjugateLearner(FEATURES, particles=3)
    meta = jit(learner.init)(jax.random.key(0))
    plain = Predictor(learner, meta)
    changed = recalibrate(plain, tasks, shots=(1, longest - 1), count=30, queries=3)
    assert changed.learner.counts == 2
    with pytest.raises(InputError, match=rf"^tasks of more than {longest} points are 0, and"):
        recalibrate(plain, tasks, shots=(longest,), count=30)
    with pytest.raises(InputError, match=r"^shots is \(\)"):
        recalibrate(plain, tasks, shots=())
