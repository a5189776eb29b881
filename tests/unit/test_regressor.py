"""The estimator: fitting, adapting, units, immutability, saving."""

import numpy as np
import pytest
from cases import MODEL

from bmaml.errors import InputError
from bmaml.estimators.regressor import FewShotRegressor
from bmaml.estimators.regressor_task import AdaptedTask
from bmaml.methods import METHODS, MethodSpec, Tuned, maml
from bmaml.methods.spec import TABLES
from bmaml.recipes.tables import regression_method
from bmaml.tables import read_table
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan
from bmaml.training.run import resume

MEAN, SCALE = 500.0, 40.0


def family(tasks, rows, seed):
    """Lines through a common point with a slope of their own, in units far from standard ones."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 10, (tasks, rows))
    slope = rng.choice([-1.0, 1.0], (tasks, 1)) * rng.uniform(0.5, 1.5, (tasks, 1))
    y = MEAN + SCALE * (slope * (x - 5) / 5 + 0.05 * rng.normal(size=x.shape))
    return x, y, np.repeat(np.arange(tasks), rows)


def train(**options):
    x, y, groups = family(60, 15, 0)
    model = FewShotRegressor("experts", particles=4, steps=300, shots=range(1, 6), **options)
    return model.fit(x.ravel(), y.ravel(), groups=groups)


@pytest.fixture(scope="module")
def model():
    return train()


@pytest.fixture(scope="module")
def unseen():
    x, y, _ = family(20, 40, 1)
    return x, y


@pytest.mark.optimised
def test_adapted_prediction_beats_the_pooled_mean_and_intervals_hold(model, unseen):
    errors, inside, densities = [], [], []
    for x, y in zip(*unseen, strict=True):
        task = model.adapt(x[:4], y[:4])
        low, high = task.interval(x[4:], 0.9)
        errors.append(np.mean((task.predict(x[4:]) - y[4:]) ** 2))
        inside.append(np.mean((low < y[4:]) & (y[4:] < high)))
        densities.append(task.log_prob(x[4:], y[4:]).mean())
    assert np.sqrt(np.mean(errors)) < 0.25 * np.std(unseen[1])
    assert 0.75 < np.mean(inside) < 1.0
    # Better than the normal of the pooled rows, both as densities per unit of the table.
    assert np.mean(densities) > -0.5 * np.log(2 * np.pi * np.e * np.var(unseen[1])) + 0.5


def test_answers_agree_with_each_other(model, unseen):
    x, y = unseen[0][0], unseen[1][0]
    task = model.adapt(x[:3], y[:3])
    grid = np.array([1.0, 9.0])
    mean, std = task.predict(grid, return_std=True)
    draws = task.sample(grid, 4000)
    assert draws.shape == (4000, 2)
    np.testing.assert_allclose(np.median(draws, 0), task.quantile(grid, 0.5), atol=0.1 * std.max())
    np.testing.assert_allclose(draws.mean(0), mean, atol=0.2 * std.max())
    low, high = task.interval(grid, 0.5)
    np.testing.assert_allclose(np.mean((low < draws) & (draws < high), 0), 0.5, atol=0.05)
    # The density integrates to one over the table's units.
    values = np.linspace(MEAN - 10 * SCALE, MEAN + 10 * SCALE, 4001)
    density = np.exp(task.log_prob(np.full(4001, 1.0), values))
    np.testing.assert_allclose(np.trapezoid(density, values), 1.0, atol=0.02)


def test_adapting_changes_nothing_but_makes_a_new_object(model, unseen):
    x, y = unseen[0][0], unseen[1][0]
    prior = model.adapt()
    before = prior.predict(x)
    task = model.adapt(x[:3], y[:3])
    further = task.observe(x[3:6], y[3:6])
    assert [prior.points, task.points, further.points] == [0, 3, 6]
    np.testing.assert_array_equal(prior.predict(x), before)
    np.testing.assert_array_equal(model.adapt(x[:3], y[:3]).predict(x), task.predict(x))
    at_once = model.adapt(x[:6], y[:6])
    np.testing.assert_allclose(further.predict(x), at_once.predict(x), rtol=1e-6)
    with pytest.raises(AttributeError):
        task.seed = 1


def test_a_row_is_predicted_alike_among_any_others(model, unseen):
    x, y = unseen[0][0], unseen[1][0]
    task = model.adapt(x[:3], y[:3])
    many = task.predict(np.tile(x, 40))
    np.testing.assert_allclose(many[:40], task.predict(x), rtol=1e-5)
    np.testing.assert_allclose(task.predict(x[7:8]), many[7:8], rtol=1e-5)


def test_suggestions_are_different_rows_of_the_pool_and_lower_the_uncertainty(model, unseen):
    x, y = unseen[0][0], unseen[1][0]
    pool = np.linspace(0, 10, 11)
    task = model.adapt([5.0], [MEAN])
    picked = task.suggest(pool, 3)
    assert len(set(picked.tolist())) == 3
    assert picked[0] == task.predict(pool, return_std=True)[1].argmax()
    before = task.predict(x, return_std=True)[1].mean()
    after = task.observe(pool[picked[:1]], [y.mean() + SCALE]).predict(x, return_std=True)[1].mean()
    assert after < before
    told = task.observe(pool[picked[:1]], task.predict(pool[picked[:1]]))
    rest = np.delete(pool, picked[0])
    assert rest[told.suggest(rest)[0]] == pool[picked[1]], "the second is picked as if the first had come out as predicted"
    assert 0 <= task.suggest(pool, by="information")[0] < 11
    assert len(repr(task)) < 80


def test_saved_model_answers_alike(model, unseen, tmp_path):
    """Models that other processes have saved are those of tests/fixtures."""
    x, y = unseen[0][0], unseen[1][0]
    model.save(tmp_path / "model")
    loaded = FewShotRegressor.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.adapt(x[:4], y[:4]).predict(x), model.adapt(x[:4], y[:4]).predict(x), rtol=1e-6)
    assert loaded.get_params() == model.get_params() | {"shots": [1, 2, 3, 4, 5]}
    with pytest.raises(InputError, match="already holds a run"):
        model.save(tmp_path / "model")


def test_own_method_on_a_file_with_categories_several_outputs_and_order(tmp_path):
    x, y, groups = family(8, 6, 2)
    lines = ["who,t,kind,a,b"]
    lines += [f"{g},{t},{'uv'[g % 2]},{v},{-v}" for g, t, v in zip(groups, x.ravel(), y.ravel(), strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    method = regression_method("linear", 3, 2)
    model = FewShotRegressor(method, steps=3, selection="first", seed=5)
    fitted = model.fit(tmp_path / "t.csv", task="who", x=["t", "kind"], y=["a", "b"], order="t", directory=tmp_path / "run")
    assert fitted is model
    few = {"who": ["new"] * 2, "t": [1.0, 2.0], "kind": ["u", "u"], "a": [500.0, 505.0], "b": [-500.0, -505.0]}
    task = model.adapt(few)
    assert isinstance(task, AdaptedTask)
    new = {"t": [3.0, 4.0, 5.0], "kind": ["u", "u", "u"]}
    assert task.predict(new).shape == (3, 2)
    assert task.log_prob(new, np.ones((3, 2))).shape == (3,)
    assert task.sample(new, 5).shape == (5, 3, 2)
    again = FewShotRegressor.load(tmp_path / "run").adapt(few).predict(new)
    np.testing.assert_allclose(again, task.predict(new), rtol=1e-6)


# By name, "linear" is fitted in test_scikit.py and test_many.py, and "pretrain" by a board on a table in test_leaderboard.py.
@pytest.mark.costly
@pytest.mark.parametrize("name", ["maml", "bmaml"])
def test_other_methods_by_name(name):
    x, y, groups = family(6, 6, 3)
    model = FewShotRegressor(name, steps=2, batch=2).fit(x.ravel(), y.ravel(), groups=groups)
    mean, std = model.adapt(x[0, :2], y[0, :2]).predict(x[0], return_std=True)
    assert np.isfinite(mean).all()
    assert (std > 0).all()


def test_scikit_learn_manners():
    model = FewShotRegressor(steps=5, seed=3)
    assert FewShotRegressor(**model.get_params()).get_params() == model.get_params()
    assert model.set_params(seed=4) is model
    assert model.seed == 4
    assert repr(model) == "FewShotRegressor(steps=5, seed=4)"
    base = pytest.importorskip("sklearn.base")
    assert base.clone(model).get_params() == model.get_params()


REFUSALS = {
    "before fit": (lambda m: FewShotRegressor().adapt([1.0], [2.0]), "not fitted"),
    "save before fit": (lambda m: FewShotRegressor().save("nowhere"), "not fitted"),
    "no groups": (lambda m: FewShotRegressor().fit([[1.0]], [1.0]), "groups= with arrays .* or task= with a table"),  # pyright: ignore[reportCallIssue]
    "no names": (lambda m: FewShotRegressor().fit({"a": [1]}, task="a"), "give y="),  # pyright: ignore[reportCallIssue]
    "name taken": (
        lambda m: FewShotRegressor().fit(read_table({"task": [1.0]}), [1.0], groups=[1]),
        "X has a column 'task'",
    ),
    "no targets": (lambda m: FewShotRegressor().fit([[1.0]], groups=[1]), "y is missing"),  # pyright: ignore[reportCallIssue]
    "unknown method": (lambda m: regression_method("bmalm", 1, 1), "did you mean 'bmaml'"),
    "particles of a point method": (lambda m: regression_method("maml", 1, 1, 5), "one particle"),
    "unknown parameter": (lambda m: FewShotRegressor().set_params(stps=1), "no parameter 'stps'"),
    "NaN in the points": (lambda m: m.adapt([1.0, np.nan], [1.0, 2.0]), r"row 1 \(counted from 0\), column 'x0'"),
    "NaN in the targets": (lambda m: m.adapt([1.0, 2.0], [1.0, np.nan]), r"row 1 \(counted from 0\), column 'y0'"),
    "lengths": (lambda m: m.adapt([1.0, 2.0], [1.0]), "y has shape"),
    "width": (lambda m: m.adapt().predict(np.ones((2, 3))), "the model has 1 inputs"),
    "level": (lambda m: m.adapt().interval([1.0], 90), "level is 90"),
    "quantile": (lambda m: m.adapt().quantile([1.0], 0.0), "level is 0.0"),
    "pool": (lambda m: m.adapt().suggest([1.0, 2.0], 3), "ask for 1 to 2"),
    "several tasks": (lambda m: m.adapt({"task": ["a", "b"], "x0": [1, 2], "y0": [1, 2]}), "several tasks"),
    "missing output": (lambda m: m.adapt({"x0": [1, 2]}), "no column 'y0'"),
    "targets without inputs": (lambda m: m.adapt(None, [1.0]), "X_few is missing"),
    "ragged rows": (lambda m: m.adapt().predict([[1.0], [1.0, 2.0]]), "rows of different lengths"),
    "far away": (lambda m: m.adapt().predict([[1e30]]), "deviations from the mean of the rows fitted on"),
    "far targets": (lambda m: m.adapt([1.0], [1e30]), "deviations from the mean of the rows fitted on"),
    "level past any number": (lambda m: m.adapt().quantile([1.0], 1e-45), "less than 9e-38 in a tail"),
    "a table of levels": (lambda m: m.adapt().quantile([1.0], [[0.1, 0.9]]), "give one probability"),
    "no particles": (lambda m: regression_method("experts", 1, 1, 0), "0 particles"),
    "shots in words": (
        lambda m: FewShotRegressor(shots="10").fit([[1.0], [2.0]], [1.0, 2.0], groups=[0, 0]),
        "shots of FewShot.* is '10'",
    ),
    "half a shot": (
        lambda m: FewShotRegressor(shots=1.5).fit([[1.0], [2.0]], [1.0, 2.0], groups=[0, 0]),
        "shots of FewShot.* is 1.5",
    ),
    "unknown context": (
        lambda m: FewShotRegressor(selection="last").fit([[1.0], [2.0]], [1.0, 2.0], groups=[0, 0]),
        "give one of 'random', 'first'",
    ),
    "columns to recalibrate on": (
        lambda m: m.recalibrate(np.ones((4, 2)), np.ones(4), groups=[0, 0, 1, 1]),
        "X and y have 3 columns and the model 2",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.unchecked
def test_refusals(model, name):
    action, words = REFUSALS[name]
    with pytest.raises(InputError, match=words):
        action(model)


@pytest.mark.unchecked
def test_arrays_to_recalibrate_on_are_a_tables_columns_in_order():
    x, y, groups = family(6, 6, 3)
    columns = {"task": "who", "x": ["when"], "y": ["what"]}
    model = FewShotRegressor("linear", steps=2, batch=2, shots=np.int64(2)).fit(table_of(x, y, groups), **columns)
    x, y, groups = family(10, 6, 4)
    groups = groups + 6
    by_name, by_order = FewShotRegressor(), FewShotRegressor()
    for one in (by_name, by_order):
        one.__dict__.update(model.__dict__)
    by_name.recalibrate(table_of(x, y, groups))
    by_order.recalibrate(x.ravel(), y.ravel(), groups=groups)
    changes = [one.run_.meta.change.log_stretch for one in (by_name, by_order)]
    np.testing.assert_array_equal(*changes)


def table_of(x, y, groups):
    """The arrays as a table of three columns."""
    return {"who": groups, "when": x.ravel(), "what": y.ravel()}


def held(model, x, y):
    """The share of 16 further rows of new tasks that lies in the 90% interval after four of them."""
    inside = []
    for one, target in zip(x, y, strict=True):
        low, high = model.adapt(one[:4], target[:4]).interval(one[4:20])
        inside.append(np.mean((low < target[4:20]) & (target[4:20] < high)))
    return np.mean(inside)


def noisier(tasks, seed):
    """Tasks of the family with five times the noise that the model was fitted on."""
    x, y, groups = family(tasks, 40, seed)
    return x, y + 0.25 * SCALE * np.random.default_rng(seed).normal(size=y.shape), groups


@pytest.mark.optimised
@pytest.mark.costly
def test_recalibrated_intervals_hold_on_tasks_of_another_kind(model, tmp_path):
    further, (x, y, _) = noisier(40, 5), noisier(30, 6)
    before, mean = held(model, x, y), model.adapt(x[0][:4], y[0][:4]).predict(x[0])
    assert before < 0.8
    changed = FewShotRegressor.load(_saved(model, tmp_path / "plain"))
    assert changed.recalibrate(further[0].ravel(), further[1].ravel(), groups=further[2], shots=(2, 4)) is changed
    assert held(changed, x, y) == pytest.approx(0.9, abs=0.05), "40 tasks to learn from, 30 to judge by"
    np.testing.assert_allclose(changed.adapt(x[0][:4], y[0][:4]).predict(x[0]), mean, rtol=1e-5)
    assert held(model, x, y) == before, "the model it was loaded from is another one"
    # Once more is the same, not a change of the change; and it is saved.
    change = changed.run_.meta.change
    again = changed.recalibrate(further[0].ravel(), further[1].ravel(), groups=further[2], shots=(2, 4)).run_.meta.change
    np.testing.assert_array_equal(change.log_stretch, again.log_stretch)
    loaded = FewShotRegressor.load(_saved(changed, tmp_path / "changed"))
    np.testing.assert_array_equal(loaded.run_.meta.change.log_stretch, change.log_stretch)
    one, other = (m.adapt(x[0][:4], y[0][:4]).interval(x[0]) for m in (changed, loaded))
    np.testing.assert_array_equal(one, other)
    assert len(loaded.adapt(x[0][:3], y[0][:3]).suggest(x[0], 2, by="information")) == 2


def test_a_model_saved_without_its_tasks_says_so_when_it_is_to_go_on(model, tmp_path):
    with pytest.raises(InputError, match=r"plain was saved without the tasks that it was trained on: pass tasks= to go on"):
        resume(_saved(model, tmp_path / "plain"))


def _saved(model, path):
    model.save(path)
    return path


def test_shots_that_no_further_task_can_give_are_refused(model):
    x, y, groups = family(3, 2, 7)
    with pytest.raises(InputError, match=r"no task of more than 2 rows and shots are 4: use at most 1 shots"):
        model.recalibrate(x.ravel(), y.ravel(), groups=groups, shots=4)


def test_a_methods_row_says_how_it_is_trained_on_a_table():
    row = METHODS.add(MethodSpec("brief", maml, tables=Tuned(plan=Plan(7, 3, Adam(0.5)))))
    assert FewShotRegressor("brief").plan() == row.tables.plan
    assert FewShotRegressor(row.preset(MODEL)).plan() == FewShotRegressor("experts").plan() == Plan(4000, 16, TABLES.outer)
    changed = FewShotRegressor("brief", steps=5, batch=2, learning_rate=0.1, weight_decay=0.2, seed=4).plan()
    assert changed == Plan(5, 2, Adam(0.1, weight_decay=0.2), 4)
