"""The mixture for tables: folds, weights, the stretch, and a model fitted, saved and asked."""

import copy
import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from many_tasks import check_equal
from scipy.stats import norm

import bmaml
from bmaml.data import Data
from bmaml.distributions import Shape, shaped
from bmaml.errors import InputError
from bmaml.estimators.stacking import PLAIN, scores_of, verdict
from bmaml.estimators.stacking.candidates import logarithm_of
from bmaml.estimators.stacking.folds import FoldTasks, Stopped, members, prepare_folds
from bmaml.estimators.stacking.questions import ask, row_weights
from bmaml.estimators.stacking.shapes import fit_shape
from bmaml.estimators.stacking.weights import stretches, weigh, widening
from bmaml.learners.hierarchical import Basis, HierarchicalLearner
from bmaml.learners.pooled import PooledLearner
from bmaml.objectives import QueryLoss
from bmaml.recipes.tables import regression_method
from bmaml.tasks import FixedTasks
from bmaml.training.interrupt import Interrupt
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan
from bmaml.training.progress import Progress


def test_every_task_is_left_out_once_and_seen_at_last():
    folds = members(12, 0)
    assert folds.shape == (6, 12)
    np.testing.assert_array_equal((~folds[:-1]).sum(0), 1)
    assert folds[-1].all()
    assert len(members(3, 0)) == 4
    assert len(members(300, 0)) == 2


def tasks():
    """Tasks whose inputs are their own number."""
    x = np.tile(np.arange(6.0)[:, None, None], (1, 4, 1)).astype("float32")
    return FixedTasks(Data(jnp.asarray(x), jnp.asarray(x), jnp.ones((6, 4))), (1, 2), 2)


def test_a_training_draws_the_tasks_that_it_sees_alone():
    source = FoldTasks(tasks(), jnp.array([1, 4, 5, 1]), jnp.asarray(3))
    drawn = jax.jit(jax.vmap(lambda key: source.sample(key).query.x[0, 0]))(jax.random.split(jax.random.key(0), 200))
    assert set(np.asarray(drawn).tolist()) == {1.0, 4.0, 5.0}


def test_a_training_does_not_depend_on_the_trainings_beside_it():
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(rng.normal(size=(4, 8, 1)), jnp.float32) for _ in range(2))
    rows = Data(x, y, jnp.ones((4, 8)))
    tasks, folds = FixedTasks(rows, (2,), 4), np.array([[1, 1, 1, 0], [1, 0, 1, 1], [1, 1, 1, 1]], bool)
    method, plan = regression_method("experts", 1, 1, 2), Plan(30, 4, Adam(1e-2))

    def trained(folds):
        with Interrupt() as interrupt:
            return prepare_folds(method, tasks, folds, plan).train(30, (10, 30), Progress(), interrupt)

    together = trained(folds)
    assert len(together) == 2
    # The one in the middle has neighbours on both sides.
    for all_of_them, alone in zip(together, trained(folds[[1]]), strict=True):
        one_of_them = jax.tree.map(lambda leaf: leaf[1:2], all_of_them)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), one_of_them, alone)


def test_questions_are_about_tasks_that_were_left_out():
    folds = members(6, 0)
    asked = ask(tasks(), folds, [0, 2], 0)
    assert not folds[asked.fold, asked.owner].any()
    np.testing.assert_array_equal(np.asarray(asked.task.support.mask).sum(1), asked.given)
    # Each task has weight 1 at each number of given points, however many questions are about it.
    weight = row_weights(asked).sum(1)
    for count in (0, 2):
        np.testing.assert_allclose(np.bincount(asked.owner, weight * (asked.given == count)), 1)


def told(count, spread):
    """Log densities of normal targets by three normals: right, wide, and far off."""
    y = np.random.default_rng(0).normal(size=(count, 8)) * spread
    return np.stack([norm.logpdf(y, 0, 1), norm.logpdf(y, 0, 4), norm.logpdf(y, 9, 1)]), np.full((count, 8), 1 / 8)


def test_many_tasks_give_the_weight_to_what_predicts_best_and_few_leave_it_shared():
    log_prob, weight = told(400, 1.0)
    given = np.arange(400) % 2
    weights, density = weigh(log_prob, weight, given, [0, 1])
    assert weights[:, 0].min() > 0.97
    assert density == pytest.approx(-1.419, abs=0.05)
    few, _ = weigh(log_prob[:, :2], weight[:2], given[:2], [0, 1])
    assert 0.4 < few[0, 0] < 0.9
    np.testing.assert_allclose(few.sum(1), 1)


@pytest.mark.parametrize(("spread", "factor"), [(1.0, 1.0), (1.4, 1.4), (0.8, 0.8)])
def test_the_stretch_is_how_much_wider_targets_are(spread, factor):
    y, factors = np.random.default_rng(0).normal(size=(300, 8)) * spread, np.exp(np.linspace(-0.4, 0.6, 11))
    log_prob = np.stack([norm.logpdf(y, 0, f) for f in factors])
    found = stretches(log_prob, np.full(y.shape, 1 / 8), np.zeros(300), [0], factors)
    np.testing.assert_allclose(found, factor, rtol=0.06)
    few = stretches(log_prob[:, :2], np.full((2, 8), 1 / 8), np.zeros(2), [0], factors)
    assert abs(np.log(few[0])) <= abs(np.log(factor)) + 0.1


def test_a_deviation_of_few_errors_needs_wider_intervals_and_one_of_many_does_not():
    rng = np.random.default_rng(0)
    for tasks in (4, 12):
        deviation = np.sqrt((rng.normal(size=(40_000, tasks)) ** 2).mean(1))
        held = np.abs(rng.normal(size=40_000)) <= 1.645 * widening(tasks) * deviation
        assert held.mean() == pytest.approx(0.9, abs=0.006)
    assert widening(10_000) == pytest.approx(1, abs=1e-3)


def test_errors_that_are_not_normal_have_their_shape_found_and_normal_ones_have_none():
    rng, owner, weight = np.random.default_rng(0), np.repeat(np.arange(120), 2), np.ones((240, 8))
    own = rng.normal(size=(240, 8))
    assert fit_shape(norm.cdf(own), weight, owner, 1.0) is None
    # Errors of deviation 1 between two ends: entropy log sqrt 12, where a normal's is log sqrt(2 pi e).
    flat = np.sqrt(12) * (rng.random((240, 8)) - 0.5)
    found = fit_shape(norm.cdf(flat), weight, owner, 1.0)
    assert found is not None
    assert found.weights.sum() == pytest.approx(1)
    assert found.weights @ found.shifts == pytest.approx(0, abs=1e-9)
    fresh = np.sqrt(12) * (rng.random(4000) - 0.5)
    told = found.log_prob(fresh).mean()
    np.testing.assert_allclose(told, np.log(norm.pdf(fresh[:, None], *found[1:]) @ found.weights).mean())
    assert norm.logpdf(fresh).mean() + 0.05 < told < -0.5 * np.log(12)
    assert abs(found.cdf(fresh) - 0.5).mean() == pytest.approx(0.25, abs=0.025)
    # A mixture that was widened since tasks are few stays wide.
    wide = fit_shape(norm.cdf(flat / 1.2), weight, owner, 1.2)
    assert wide is not None
    np.testing.assert_allclose(wide, found, rtol=1e-3, atol=1e-3)
    assert fit_shape(norm.cdf(flat[:24]), weight[:24], owner[:24], 1.0) is None


def test_a_mixture_whose_errors_have_a_shape_is_saved_and_answers_with_it(tmp_path):
    learner = PooledLearner((HierarchicalLearner(Basis(("curve",)), draws=2),), (1,), kinds=2)
    shape = Shape(*(jnp.array(part) for part in ([-0.4, -1.2], [-0.3, 0.7], [0.6, 1.3])))
    meta = dataclasses.replace(jax.jit(learner.init)(jax.random.key(0)), shape=shape)
    bmaml.Run(bmaml.Method(learner, QueryLoss("points")), meta, bmaml.Plan(1, 1, Adam(1e-2)), 1).save(tmp_path / "m")
    again = bmaml.load(tmp_path / "m")
    few, x = Data(*(jnp.array(part) for part in ([[0.3]], [[0.5]], [1.0]))), jnp.array([[-0.5]])

    @jax.jit
    def answers(meta):
        bent = again.method.learner.adapt(meta, few, key=jax.random.key(0))
        plain = learner.adapt(dataclasses.replace(meta, shape=None), few, key=jax.random.key(0))
        told = [predictive.log_prob(x) for predictive in (bent.predict(x), shaped(plain.predict(x), shape))]
        return told, bent.noise_entropy(x) - plain.noise_entropy(x), shape.entropy()

    told, more, entropy = answers(again.meta)
    np.testing.assert_allclose(*told, rtol=1e-5)
    np.testing.assert_allclose(more, entropy - 0.5 * np.log(2 * np.pi * np.e), rtol=1e-3)


def test_outcomes_that_reach_0_have_no_logarithm():
    means, scales = np.array([10.0]), np.array([2.0])
    assert logarithm_of(np.array([[-4.0], [1.0]]), means, scales) is not None
    assert logarithm_of(np.array([[-5.0], [1.0]]), means, scales) is None
    assert logarithm_of(np.array([[-6.0], [1.0]]), means, scales) is None


def growth(tasks, rows, seed):
    """Sizes that grow in proportion, with errors in proportion: lines in the logarithm."""
    rng = np.random.default_rng(seed)
    t = np.tile(np.linspace(0, 3, rows), (tasks, 1))
    rate = 0.8 + 0.2 * rng.normal(size=(tasks, 1))
    return t, np.exp(1 + rate * t + 0.05 * rng.normal(size=t.shape)), np.repeat(np.arange(tasks), rows)


@pytest.fixture(scope="module")
def model():
    t, y, groups = growth(20, 7, 0)
    return bmaml.FewShotRegressor("mixed-model", shots=(0, 1, 3)).fit(t.ravel(), y.ravel(), groups=groups)


def test_what_is_kept_of_single_tasks_adds_up_to_the_scores_and_is_in_the_units_of_the_table(model):
    kept, own = model.left_out(), [score for score in scores_of(model.folds_) if score.method == "mixed-model"]
    for i, score in enumerate(own):
        assert np.sqrt(np.mean(np.square(kept["rmse"]["y0"][i]))) == pytest.approx(score.rmse["y0"].value, rel=1e-3)
        assert np.mean(kept["nll"][i]) == pytest.approx(score.nll.value, rel=1e-3)
        assert np.mean(kept["covered"]["y0"][i]) == pytest.approx(score.coverage["y0"].value, abs=1e-3)
        assert kept["held"]["y0"][i][kept["levels"].index(0.9)][0] == pytest.approx(score.coverage["y0"].value, abs=1e-3)
    t, y, groups = growth(20, 7, 0)
    assert [shown["rank"] for shown in kept["examples"]] == [1, 2, 3, 4, 9, 10, 11, 12, 17, 18, 19, 20]
    for shown in kept["examples"]:
        mine = groups == int(shown["task"])
        assert sorted(np.ravel([*shown["y"], *shown["given_y"]])) == pytest.approx(sorted(y.ravel()[mine]), rel=1e-3)
        assert sorted([*shown["x"], *shown["given_x"]]) == pytest.approx(sorted(t.ravel()[mine]), rel=1e-3)
        ends = np.ravel(shown["low"]), np.ravel(shown["mean"]), np.ravel(shown["high"])
        assert (np.diff(ends, axis=0) > 0).all()


def test_tasks_together_have_the_numbers_of_tasks_one_by_one(model):
    t, y, groups = growth(3, 7, 2)
    open_ = np.tile(np.arange(7) >= 3, 3)
    check_equal(model, {"task": groups, "x0": t.ravel(), "y0": np.where(open_, np.nan, y.ravel())})


def test_growth_is_predicted_in_the_logarithm_and_covered(model):
    assert model.folds_["candidates"] == ["mixed model of the logarithm"]
    found = {(score.method, score.shots): score for score in scores_of(model.folds_)}
    assert found["mixed-model", 3].rmse["y0"].value < 0.2 * found[PLAIN, 3].rmse["y0"].value
    assert 0.8 < found["mixed-model", 3].coverage["y0"].value < 0.98
    t, y, _ = growth(200, 7, 1)
    inside = []
    for own_t, own_y in zip(t[:12], y[:12], strict=True):
        low, high = model.adapt(own_t[:3], own_y[:3]).interval(own_t[3:])
        inside.append((low <= own_y[3:]) & (own_y[3:] <= high))
        assert (low > 0).all()
    assert 0.75 < np.mean(inside) <= 1


def test_a_mixture_is_saved_with_what_the_folds_say(model, tmp_path):
    model.save(tmp_path / "m")
    again = bmaml.FewShotRegressor.load(tmp_path / "m")
    few, x = ([0.0, 1.0], [2.7, 6.0]), [2.0, 3.0]
    np.testing.assert_array_equal(again.adapt(*few).predict(x), model.adapt(*few).predict(x))
    assert again.folds_ == model.folds_
    assert again.method == "mixed-model"
    lines = verdict(again.folds_, "mixed-model")
    assert any("of the weight is on the mixed model of the logarithm" in line for line in lines)
    assert any("20 tasks" in line for line in lines)
    # The intervals of these folds hold a little too much. Where they do not, words say that as well.
    assert any("recalibrate" in line for line in lines)
    calm = copy.deepcopy(again.folds_)
    assert calm is not None
    for score in calm["scores"]:
        score["coverage"]["y0"] |= {"low": 0.0, "high": 1.0}
    lines = verdict(calm, "mixed-model")
    assert lines[0].startswith("After every number of rows it predicts better than the mean of the given rows, and its 90%")
    assert not any("recalibrate" in line for line in lines)


def test_a_model_says_what_it_learned_and_where_it_knows_nothing(model):
    """The truth: exp(1 + r t), r of mean .8 and deviation .2 between tasks, and errors of 5%."""
    found = model.describe()
    parts, (curve,), (effect,) = found.variance["y0"], found.curves, found.effects
    assert found.tasks == 20
    assert sum(parts[part] for part in ("inputs", "level", "shape", "noise")) == pytest.approx(1, abs=1e-3)
    assert parts["inputs"] > parts["level"] + parts["shape"] > 5 * parts["noise"] > 0
    assert curve["x"][::10] == [0, 0.75, 1.5, 2.25, 3]
    assert curve["centre"][0] == pytest.approx(np.e, rel=0.05)
    assert curve["low"][20] == pytest.approx(np.exp(1 + 1.5 * (0.8 - 0.33)), rel=0.25)
    assert effect["change"] > 10
    assert found.to_json()["variance"]["y0"] == parts
    assert any("20 tasks" in line for line in found.lines())
    t = np.array([0.0, 1.0, 2.0])
    assert model.adapt(t, np.exp(1 + 0.75 * t)).surprise() > 0.01
    assert model.adapt(t, 9 * np.exp(1 + 0.75 * t)).surprise() < 1e-4
    assert model.adapt().surprise() == 1.0
    with pytest.warns(UserWarning, match=r"row 1 \(counted from 0\), column 'x0' is 3\.9, outside of the 0 to 3 of"):
        model.adapt().predict([1.0, 3.9])


def test_rows_that_come_nearest_to_what_is_wanted_are_suggested(model):
    task, pool = model.adapt([0.0, 1.0], [2.7, 6.0]), np.linspace(0, 3.6, 13)
    with pytest.warns(UserWarning, match="2 of 13 rows of X lie outside"):
        picked = task.suggest(pool, 2, target=9.0)
    # The task's rate is near .8: 9 = exp(1 + .8 t) at t = 1.5.
    assert abs(pool[picked[0]] - 1.5) <= 0.3
    assert pool[task.suggest(pool[:11], goal="max", limits={"y0": (None, 9.0)})[0]] < 1.9
    assert task.suggest(pool[:11], goal="min", of="y0").tolist() == [0]
    costs = np.where(np.arange(11) == 4, 1e-3, 1.0)
    assert task.suggest(pool[:11], costs=costs).tolist() == [4]
    for words, wish in {
        "1 of the 2 rows of the pool lie inside": {"X_pool": [1.0, 9.0], "n": 2},
        "decides nothing": {"X_pool": [1.0], "by": "variance", "target": 2.0},
        "no outcome 'z'": {"X_pool": [1.0], "of": "z"},
        "a target alone": {"X_pool": [1.0], "target": 2.0, "goal": "max"},
        "cost number 0 .* is -1: give a cost above 0": {"X_pool": [1.0], "costs": [-1.0]},
    }.items():
        with pytest.raises(InputError, match=words):
            task.suggest(**wish)


def test_a_fit_that_is_stopped_raises(monkeypatch):
    monkeypatch.setattr(Interrupt, "raised", property(lambda self: True, lambda self, value: None), raising=False)
    t, y, groups = growth(20, 7, 0)
    with pytest.raises(Stopped, match="nothing was saved, since a mixture cannot be resumed: fit it again"):
        bmaml.FewShotRegressor("mixed-model", shots=(0, 1, 3)).fit(t.ravel(), y.ravel(), groups=groups)
