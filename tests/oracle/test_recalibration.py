"""Recalibration against predictives whose error is known, and against new tasks."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FEATURES, fixed_tasks, labelled
from jaxtyping import Array

from bmaml.data import Data, Task
from bmaml.distributions import AbstractContinuous, Mixture, Normal
from bmaml.errors import InputError
from bmaml.evaluation.evaluate import evaluate
from bmaml.evaluation.recalibrate import recalibrate
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.learners import AbstractLearner, ConjugateLearner, PrototypeLearner
from bmaml.learners.predictor import Predictor
from bmaml.tasks import ambiguous
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
    """A predictive of mean 0 and a given deviation; as a mixture of two of them where asked."""

    scale: Array
    mixed: bool = eqx.field(static=True)

    def predict(self, x) -> AbstractContinuous:
        one = Normal(jnp.zeros_like(x), jnp.full_like(x, self.scale))
        two = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), one)
        return Mixture(jnp.zeros(2), two) if self.mixed else one

    def sample_functions(self, x, *, key, count=1):
        return jnp.zeros((count, len(x), 1))


class Sure(AbstractLearner):
    """Too sure by a factor of `meta` after two points, and half as much after six."""

    mixed: bool = eqx.field(static=True, default=False)

    def init(self, key):
        return jnp.asarray(4.0)

    def adapt(self, meta, support, *, key):
        factor = jnp.where(support.mask.sum() > 2, 0.5 * meta, meta)
        return Believed(SPREAD / factor, self.mixed)


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_known_error_of_the_deviation_is_found_at_each_number_of_shots(factor, mixed):
    """2,000 tasks of 10 points: the standard error of a stretch is near 0.6%."""
    found = recalibrate(Predictor(Sure(mixed), jnp.asarray(factor)), Noise(), shots=(2, 6), count=2000)
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
        return Wide(jnp.asarray(SPREAD), True)


class Wide(Believed):
    """The two of them."""

    def predict(self, x):
        loc = jnp.stack([jnp.full_like(x, 5 * SPREAD), jnp.full_like(x, -5 * SPREAD)])
        return Mixture(jnp.zeros(2), Normal(loc, jnp.full_like(loc, self.scale)))


def test_what_no_stretch_can_mend_stays_as_it_was():
    meta = recalibrate(Predictor(Apart(), jnp.asarray(1.0)), Noise(), shots=(2,)).meta
    assert meta.change.held[0] == 1.0
    assert (meta.change.log_stretch[0], meta.change.tails[0]) == (0.0, 0.0)


def test_predictions_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="predictions after 2 shots are not finite"):
        recalibrate(Predictor(Sure(), jnp.asarray(jnp.nan)), Noise(), shots=(2,))


def test_intervals_of_a_trained_learner_hold_on_new_tasks():
    """Experts that start at random are far off; 300 new tasks of 10 points."""
    learner = ConjugateLearner(FEATURES, particles=3)
    bare = learner.init(jax.random.key(0))
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
    tasks = fixed_tasks()
    longest = int(np.asarray(tasks.rows.count).max())
    learner = ConjugateLearner(FEATURES, particles=3)
    meta = learner.init(jax.random.key(0))
    plain = Predictor(learner, meta)
    changed = recalibrate(plain, tasks, shots=(1, longest - 1), count=30, queries=3)
    assert changed.learner.counts == 2
    with pytest.raises(InputError, match=rf"^{longest} shots leave no task a point to recalibrate on"):
        recalibrate(plain, tasks, shots=(longest,), count=30)
    with pytest.raises(InputError, match=r"^shots is \(\)"):
        recalibrate(plain, tasks, shots=())


def test_classes_are_refused():
    learner = PrototypeLearner(3)
    with pytest.raises(InputError, match="classes"):
        recalibrate(Predictor(learner, learner.init(jax.random.key(0))), fixed_tasks(kind=labelled), shots=(1,), count=4)
