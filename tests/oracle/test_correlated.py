"""Several outcomes of which rows may lack some: against the joint Gaussian, and correlations that are known."""

import dataclasses
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import jit
from many_tasks import check_equal
from scipy.stats import multivariate_normal

import bmaml
from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.learners.hierarchical import Basis, HierarchicalLearner
from bmaml.learners.hierarchical.correlated import CorrelatedLearner, correlation_root
from bmaml.tables import ColumnRoles, Schema, fit_schema, measured, read_table
from bmaml.tables.new import new_rows

KEY = jax.random.key(0)


def test_posterior_and_evidence_are_those_of_the_joint_gaussian():
    rng = np.random.default_rng(0)
    learner = CorrelatedLearner(HierarchicalLearner(Basis(("line",)), 2, "lines", draws=1))
    meta = jit(learner.init)(KEY)
    drawn = {name: rng.normal(size=leaf.shape) * 0.3 - 0.3 for name, leaf in meta.inner.scales.items()}
    scales = {name: jnp.asarray(values, jnp.float32) for name, values in drawn.items()}
    mean = jnp.asarray(rng.normal(size=meta.inner.mean.shape), jnp.float32)
    inner = dataclasses.replace(meta.inner, scales=scales, mean=mean)
    meta = dataclasses.replace(meta, inner=inner, root=correlation_root(jnp.array([1.2]), 2))
    x, y = rng.normal(size=(7, 1)), rng.normal(size=(7, 2))
    known = np.array([[1, 1], [1, 0], [0, 1], [1, 1], [0, 0], [1, 0], [1, 1]])
    mask = np.array([1, 1, 1, 1, 1, 1, 0])
    support = Data(*(jnp.asarray(part, jnp.float32) for part in (np.concatenate([x, known], 1), y, mask)))
    new = np.array([[0.3], [-1.0], [2.0]])

    @jit
    def asked(meta, support, x):
        posterior, evidence = learner.weigh(meta, support)
        drawn = posterior.sample_functions(x, key=KEY, count=4000)
        return evidence, posterior.predict(x), drawn

    evidence, said, drawn = asked(meta, support, jnp.asarray(np.pad(new, ((0, 0), (0, 2))), jnp.float32))
    # All rows and outcomes in one Gaussian: coefficients that tasks share, correlated lines of the task, and noise.
    whole = np.concatenate([x, new])
    own_scales, own_mean, own_root = jax.tree.map(
        lambda leaf: np.asarray(leaf[0], np.float64), (inner.scales, inner.mean, inner.root)
    )
    design = np.concatenate([np.ones_like(whole), whole], 1)
    correlation = np.asarray(meta.root @ meta.root.T)
    assert correlation[0, 1] == pytest.approx(1.2 / np.hypot(1, 1.2), rel=1e-5)
    roots, noise = [], []
    for output in range(2):
        unit = np.eye(2) + np.array([[0, 0], [own_scales["below"][output, 0], 0]])
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        roots.append(np.exp(own_scales["lines"][output])[:, None] * unit)
        slope = np.clip(whole, -2.5, 2.5) @ own_scales["noise_slope"][output]
        noise.append(np.exp(2 * (own_scales["noise"][output] + slope)) + 1e-6)
    blocks = [[correlation[a, b] * design @ roots[a] @ roots[b].T @ design.T for b in range(2)] for a in range(2)]
    for output in range(2):
        moving = design @ own_root[output]
        blocks[output][output] = blocks[output][output] + moving @ moving.T
    latent, total = np.block(blocks), np.concatenate([design @ own_mean[output] for output in range(2)])
    seen = np.flatnonzero(np.concatenate([np.r_[(known[:, output] * mask), np.zeros(3)] for output in range(2)]))
    asked_for = np.flatnonzero(np.tile(np.r_[np.zeros(7), np.ones(3)], 2))
    inside = (latent + np.diag(np.concatenate(noise)))[np.ix_(seen, seen)]
    outcomes = np.concatenate([np.r_[y[:, output], np.zeros(3)] for output in range(2)])[seen]
    exact = multivariate_normal.logpdf(outcomes, total[seen], inside)
    assert float(evidence) == pytest.approx(exact, abs=1e-3)
    cross = latent[np.ix_(asked_for, seen)] @ np.linalg.inv(inside)
    centre = (total[asked_for] + cross @ (outcomes - total[seen])).reshape(2, 3).T
    covariance = latent[np.ix_(asked_for, asked_for)] - cross @ latent[np.ix_(seen, asked_for)]
    deviation = np.sqrt(np.diag(covariance) + np.concatenate([part[7:] for part in noise])).reshape(2, 3).T
    np.testing.assert_allclose(said.mean, centre, atol=2e-3)
    np.testing.assert_allclose(said.std, deviation, rtol=2e-3)
    np.testing.assert_allclose(drawn.mean(0), centre, atol=0.1)
    flat = np.swapaxes(np.asarray(drawn), 1, 2).reshape(len(drawn), -1)
    np.testing.assert_allclose(np.cov(flat.T), covariance, atol=0.12 * np.abs(covariance).max())


def visits(tasks, rows, seed, lacking=0.4):
    """Two outcomes of patients whose levels have a correlation of 0.9; the second is often missing."""
    rng, task = np.random.default_rng(seed), np.repeat(np.arange(tasks), rows)
    level = rng.multivariate_normal([10.0, -3.0], [[4.0, 0.9], [0.9, 0.25]], tasks)[task]
    time = rng.uniform(0, 4, len(task))
    y = level + np.outer(time, [0.5, -0.2]) + rng.normal(size=(len(task), 2)) * [0.5, 0.12]
    y[rng.random(len(task)) < lacking, 1] = np.nan
    y[rng.random(len(task)) < 0.1, 0] = np.nan
    return {"t": task, "time": time, "a": y[:, 0], "b": y[:, 1]}, level


def test_rows_that_lack_an_outcome_are_given_and_asked():
    table, _ = visits(6, 5, 0)
    roles = ColumnRoles("t", ("time",), ("a", "b"), partial=True)
    with pytest.warns(UserWarning, match="rows: ") as said:
        read = measured(read_table(table), ("a", "b"), partial=True)
    none, some = (str(warning.message) for warning in said)
    assert none.endswith("has none of the outcomes in 2 of 30 rows: these rows are left out.")
    assert re.search("'b' in [0-9]+ of 28 rows: each row is used for the outcomes that it has", some)
    schema = fit_schema(read, roles)
    assert schema.partial
    assert schema.width == 3
    assert Schema.from_json(schema.to_json()) == schema
    x, y = schema.encode(read)
    there = np.isfinite(schema.targets(read))
    np.testing.assert_array_equal(x[:, 1:] > 0, there)
    assert np.isfinite(y).all()
    assert (y[~there] == 0).all()
    # Of whole rows alone the model would be another one.
    new = {"t": ["n"] * 3, "time": [0.0, 1.0, 2.0], "a": [9.0, 8.0, np.nan], "b": [-3.0, np.nan, np.nan]}
    found = new_rows(read_table(new), schema)
    assert (found.given.tolist(), found.open.tolist()) == ([0, 1], [1, 2])
    with pytest.raises(InputError, match="no row with a value in 'b'"):
        measured(read_table(new | {"b": [np.nan] * 3}), ("a", "b"), partial=True)


@pytest.mark.costly
def test_a_task_that_is_measured_in_one_outcome_is_known_in_the_other(tmp_path):
    known, _ = visits(60, 6, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = bmaml.FewShotRegressor("mixed-model", shots=(0, 2, 4)).fit(known, ["a", "b"], task="t", x="time")
    (part,) = model.run_.meta.parts
    root = np.asarray(part.root[0])
    assert (root @ root.T)[0, 1] == pytest.approx(0.9, abs=0.12)
    new, level = visits(40, 4, 2)
    errors, given, adapted = [], {}, model.adapt()
    for task in range(40):
        rows = new["t"] == task
        given = {"time": new["time"][rows], "a": new["a"][rows], "b": np.full(4, np.nan)}
        adapted = model.adapt(given)
        mean, std = adapted.predict({"time": [0.0]}, return_std=True)
        errors.append((mean[0] - level[rows][0]) / [1.0, 1.0])
        assert std[0, 1] < 0.35
    # The level of b scatters by 0.5, and by 0.22 around what the level of a tells.
    assert np.std(np.array(errors)[:, 1]) < 0.32
    some = {name: np.asarray(values)[:12] for name, values in new.items()}
    check_equal(model, some)
    model.save(tmp_path / "m")
    again = bmaml.FewShotRegressor.load(tmp_path / "m")
    np.testing.assert_array_equal(again.adapt(given).predict({"time": [1.0]}), adapted.predict({"time": [1.0]}))
    assert model.score(new, np.stack([new["a"], new["b"]], 1), groups=new["t"], given=2) > 0.7
    with pytest.raises(InputError, match="y lacks outcomes of some rows"):
        adapted.log_prob({"time": [0.0]}, [[9.0, np.nan]])
    assert adapted.suggest({"time": [0.0, 1.0, 2.0]}, n=2).shape == (2,)
    assert len(model.describe().lines()) > 5
