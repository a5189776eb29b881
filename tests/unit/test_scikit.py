"""scikit-learn's manners: routing of groups, pipelines, searches, scores, frames, labels, and its own checks."""

import numpy as np
import pytest

import bmaml
from bmaml.errors import InputError
from bmaml.estimators.scikit import explained, split_given
from bmaml.tables import read_table

sklearn = pytest.importorskip("sklearn", "1.6")


def lines(tasks=6, rows=5, seed=0):
    """Lines of unit slope whose level differs between tasks."""
    rng = np.random.default_rng(seed)
    x, groups = rng.uniform(size=(tasks * rows, 1)), np.repeat(np.arange(tasks), rows)
    return x, x[:, 0] + rng.normal(size=tasks)[groups] + 0.01 * rng.normal(size=len(x)), groups


def small(**options):
    return bmaml.FewShotRegressor("linear", steps=2, batch=2, shots=(0, 1, 2), **options)


@pytest.mark.filterwarnings("ignore:.*outside of the")
def test_groups_are_routed_to_splits_fits_and_scores():
    from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y, groups = lines()
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = make_pipeline(StandardScaler(), small())
        scores = cross_val_score(pipe, x, y, cv=GroupKFold(2), params={"groups": groups})
        assert scores.shape == (2,)
        assert np.isfinite(scores).all()
        # Of a setting that is an argument of the compiled training.
        search = GridSearchCV(small(), {"seed": [0, 1]}, cv=GroupKFold(2), refit=False)
        search.fit(x, y, groups=groups)
        # A user may say the same in scikit-learn's words, or give another name.
        named = small().set_fit_request(groups="who").set_score_request(groups="who")
        scores = cross_val_score(named, x, y, cv=GroupKFold(2), params={"groups": groups, "who": groups})
        assert np.isfinite(scores).all()
        assert pipe.fit(x, y, groups=groups).score(x, y, groups=groups, given=2) > 0.5
    with pytest.raises(InputError, match="enable_metadata_routing"):
        small().fit({"x": x[:, 0], "y": y}, "y", x="x")  # pyright: ignore[reportCallIssue]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    # The score is that of tasks some of whose rows are given, and not of rows of no task.
    model = small().fit(x, y, groups=groups)
    assert model.score(x, y, groups=groups, given=2) > 0.5 > model.score(x, y) - 0.5
    parts = split_given(read_table({"x": x[:, 0]}), groups, 2, True, 0)
    assert [(a.tolist(), b.tolist()) for a, b in parts[:2]] == [([0, 1], [2, 3, 4]), ([5, 6], [7, 8, 9])]
    mixed = np.random.default_rng(1).permutation(len(y))
    assert model.score(x[mixed], y[mixed], groups=groups[mixed], given=2) == pytest.approx(
        model.score(x, y, groups=groups, given=2)
    )
    with pytest.raises(InputError, match=r"row 0 .*'groups' is empty|row 0 .*'groups' is 'None'|'groups'"):
        model.score(x, y, groups=[None, *groups[1:].tolist()], given=2)
    with pytest.raises(InputError, match="sample_weight of -1"):
        model.score(x, y, groups=groups, given=2, sample_weight=-np.ones(len(y)))
    with pytest.raises(InputError, match="no task has more than 9 rows"):
        model.score(x, y, groups=groups, given=9)
    y, mean = np.array([1.0, 3.0, 9.0]), np.array([1.0, 2.0, 0.0])
    assert explained(y, mean, np.array([1.0, 1.0, 0.0])) == 0.5


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_go_in_and_come_out(library):
    frames = pytest.importorskip(library)
    x, y, groups = lines()
    table = frames.DataFrame({"age": x[:, 0], "task": groups, "size": y})
    model = small().fit(table, "size", task="task", x="age")
    assert (model.n_features_in_, model.feature_names_in_.tolist()) == (1, ["age"])
    found = model.adapt([[0.1]], [0.5]).frame(table[3:6], quantiles=(0.1, 0.9))
    assert isinstance(found, frames.DataFrame)
    assert list(found.columns) == ["size_mean", "size_std", "size_q0.1", "size_q0.9"]
    if library == "pandas":
        assert found.index.tolist() == [3, 4, 5]
    ends = model.adapt([[0.1]], [0.5]).quantile(table[3:6], [0.1, 0.9])
    np.testing.assert_array_equal(ends, np.stack([found["size_q0.1"], found["size_q0.9"]]))


def test_rows_of_two_labels_are_told_apart_and_saved(tmp_path):
    rng = np.random.default_rng(0)
    groups, x = np.repeat(np.arange(6), 4), rng.uniform(-1, 1, (24, 1))
    labels = np.where(3 * x[:, 0] + 0.3 * rng.normal(size=24) > 0, "dead", "lives")
    model = bmaml.FewShotTableClassifier("mixed-model", shots=(0, 1)).fit(x, labels, groups=groups)
    assert model.classes_.tolist() == ["dead", "lives"]
    task = model.adapt([[0.9], [-0.9]], ["dead", "lives"])
    p = task.predict_proba([[0.9], [-0.9]])
    np.testing.assert_allclose(p.sum(1), 1)
    assert p[0, 0] > p[1, 0]
    assert task.predict([[0.9], [-0.9]]).tolist() == ["dead", "lives"]
    low, high = task.interval([[0.9]])
    assert low[0] < p[0, 1] < high[0]
    assert model.score(x, labels) > 0.8
    assert model.score(x, labels, groups=groups, given=1) > 0.8
    model.save(tmp_path / "m")
    again = bmaml.FewShotTableClassifier.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
    with pytest.raises(InputError, match="every row has the label 'a'"):
        bmaml.FewShotTableClassifier().fit(x[:3], ["a", "a", "a"], groups=[0, 0, 0])


@pytest.mark.costly
def test_rows_of_several_labels_are_told_apart_and_saved(tmp_path):
    rng = np.random.default_rng(0)
    groups, x = np.repeat(np.arange(20), 8), rng.uniform(-1, 1, (160, 1))
    labels = np.array([3, 1, 2])[np.digitize(x[:, 0] + 0.15 * rng.normal(size=160), [-0.4, 0.4])]
    model = bmaml.FewShotTableClassifier("mixed-model", shots=(0, 2)).fit(x, labels, groups=groups)
    assert model.classes_.tolist() == [1, 2, 3]
    task = model.adapt([[0.9], [-0.9], [0.0]], [2, 3, 1])
    p = task.predict_proba([[0.9], [-0.9], [0.0]])
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    assert task.predict([[0.9], [-0.9], [0.0]]).tolist() == [2, 3, 1]
    low, high = task.interval([[0.9], [0.3]])
    assert (low < task.predict_proba([[0.9], [0.3]])).all()
    assert (high > task.predict_proba([[0.9], [0.3]])).all()
    assert model.score(x, labels, groups=groups, given=2) > 0.75
    model.save(tmp_path / "m")
    again = bmaml.FewShotTableClassifier.load(tmp_path / "m")
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))


class Grouped(bmaml.FewShotRegressor):
    """The regressor where scikit-learn's checks give no groups: every four rows are a task."""

    def fit(self, X, y=None, *, groups=None, **options):
        rows = X.shape[0] if hasattr(X, "shape") else len(np.asarray(X))
        return super().fit(X, y, groups=np.arange(rows) // 4 if groups is None else groups, **options)


# Checks of scikit-learn that fail, and why. Everything else holds.
OWN_WORDS = "the refusal says in the library's own words what is wrong and what to give"
EXPECTED: dict[str, str] = {
    "check_n_features_in_after_fitting": OWN_WORDS,
    "check_complex_data": OWN_WORDS,
    "check_fit2d_1sample": OWN_WORDS,
    "check_fit2d_predict1d": OWN_WORDS,
    "check_requires_y_none": OWN_WORDS,
    "check_estimators_empty_data_messages": "a table without inputs is a random intercept and no error",
    "check_fit1d": "one axis of numbers is one input",
    "check_regressors_train": "rows of no task are predicted, by a model trained for one step",
}


@pytest.mark.costly
@pytest.mark.unchecked
@pytest.mark.filterwarnings("ignore")
def test_the_checks_of_scikit_learn():
    from sklearn.utils.estimator_checks import check_estimator

    found = check_estimator(Grouped("linear", steps=1, batch=2, shots=(0, 1)), expected_failed_checks=EXPECTED)
    # What is expected to fail fails, so that no reason outlives its cause.
    assert {check["check_name"] for check in found if check["status"] == "xfail"} == EXPECTED.keys()
