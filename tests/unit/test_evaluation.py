"""Evaluation: the same tasks for all, whatever the batch, and intervals that hold the truth."""

import dataclasses
import io
import json
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import points, task
from cases import run as command
from rich.console import Console

from bmaml import load, methods
from bmaml.data import Data, Task, stack
from bmaml.data import data as to_data
from bmaml.distributions import Categorical, Normal
from bmaml.errors import InputError, PairError
from bmaml.evaluation.draws import draw_task
from bmaml.evaluation.evaluate import evaluate, regret, to_records
from bmaml.experiments.board.arenas import FamilyArena
from bmaml.experiments.board.run import Board
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.learners.base import AbstractLearner
from bmaml.learners.predictor import Predictor
from bmaml.learners.resized import drawing
from bmaml.methods import METHODS, Method, MethodSpec
from bmaml.models import MLP, GaussianModel
from bmaml.recipes.families import build_method
from bmaml.rl import Navigation
from bmaml.tasks import AbstractTasks, Bank, Episodes, FiniteTasks, FixedTasks, PartialTasks, Sinusoids

FAMILY = Sinusoids(shots=5, queries=10)
drawn_task = jax.jit(draw_task)
GRADIENT = methods.maml(GaussianModel(MLP((1, 4, 1), "tanh"))).learner


class Constant(AbstractPosterior):
    """Predicts the same normal everywhere."""

    loc: jax.Array

    def predict(self, x):
        return Normal(jnp.broadcast_to(self.loc, x.shape), jnp.ones((1, 1)))

    def sample_functions(self, x, *, key, count=1):
        return jnp.zeros((count, *x.shape))


class MeanOfSupport(AbstractLearner):
    """Predicts the mean of the support's targets plus the meta-parameter."""

    def init(self, key):
        return jnp.zeros(())

    def adapt(self, meta, support, *, key):
        return Constant(meta + (support.y[:, 0] * support.mask).sum() / support.count)


class Shares(AbstractPosterior):
    """Predicts every class alike."""

    def predict(self, x):
        return Categorical(jnp.zeros((len(x), 3)))

    def sample_functions(self, x, *, key, count=1):
        return jnp.zeros((count, len(x), 3))


class Guess(AbstractLearner):
    """Knows nothing."""

    def init(self, key):
        return None

    def adapt(self, meta, support, *, key):
        return Shares()


class Classes(AbstractTasks):
    """Random labels."""

    inputs: ClassVar[int] = 1
    outputs: ClassVar[int] = 1

    def sample(self, key):
        y = jax.random.randint(key, (8,), 0, 3)
        rows = Data(jnp.zeros((8, 1)), y, jnp.ones(8))
        return Task(*(jax.tree.map(lambda leaf, s=s: leaf[s], rows) for s in (slice(3), slice(3, 8))))


MEAN = MeanOfSupport()


def scores(learner=MEAN, meta=0.0, tasks=FAMILY, **options):
    """All scores of a small evaluation, each task's by itself."""
    options = {"shots": (3, 5), "count": 20, "queries": 8, **options}
    return evaluate(Predictor(learner, jnp.asarray(meta) if meta is not None else None), tasks, **options)


def same(one, other, tasks=slice(None)):
    for setting, each in one.scores.items():
        for name, values in each.items():
            np.testing.assert_allclose(other.scores[setting][name][tasks], values[tasks], rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_printed_evaluation_is_a_table_of_80_columns():
    lines = str(scores(shots=(1, 5))).splitlines()
    assert "20 tasks" in lines[0]
    assert max(map(len, lines)) <= 80
    assert any("shots" in line and "nll" in line for line in lines)


def test_the_batch_changes_nothing():
    same(scores(batch=50), scores(batch=7))


def test_a_task_is_the_same_however_many_there_are_and_whatever_other_shots():
    whole, few = scores(shots=(3, 5)), scores(shots=(5,), count=8)
    for name, values in few.scores[5, None].items():
        np.testing.assert_allclose(whole.scores[5, None][name][:8], values, rtol=1e-5, atol=1e-6)


def test_the_seed_draws_the_tasks():
    same(scores(seed=4), scores(seed=4))
    assert not np.allclose(scores(seed=4).scores[3, None]["mse"], scores(seed=5).scores[3, None]["mse"])


def test_sinusoids_are_scored_against_noise_free_targets():
    noisy = dataclasses.replace(FAMILY, relative_noise=0.0, noise=2.0)
    result = scores(tasks=noisy, count=200, queries=20, shots=(5,))
    gap = result.scores[5, None]["mse_noisy"] - result.scores[5, None]["mse"]
    assert abs(gap.mean() - 4.0) < 4 * gap.std() / 200**0.5


def test_one_program_serves_all_shots_seeds_and_meta_parameters(compilations):
    scores(meta=0.0)
    before = len(compilations)
    scores(meta=1.0, seed=9)
    assert len(compilations) == before


def test_steps_are_counts_of_inner_steps():
    meta = GRADIENT.init(jax.random.key(0))
    result = evaluate(Predictor(GRADIENT, meta), FAMILY, shots=(3,), steps=(0, 2), count=6, queries=4, batch=6)
    taken = evaluate(Predictor(dataclasses.replace(GRADIENT, steps=2), meta), FAMILY, shots=(3,), count=6, queries=4, batch=6)
    np.testing.assert_allclose(result.scores[3, 2]["nll"], taken.scores[3, None]["nll"], rtol=1e-5)
    assert [row.steps for row in result.rows if row.metric == "mse"] == [0, 2]
    assert result.get("mse", 3, 2).mean == result.scores[3, 2]["mse"].mean()
    with pytest.raises(InputError, match="leave out steps"):
        scores(steps=(1,))


def fixed(selection="random", counts=(6, 9, 7)):
    rng = np.random.default_rng(0)
    sets = [to_data(np.arange(n) + 0.5, 10.0 * i + rng.normal(size=n)) for i, n in enumerate(counts)]
    return FixedTasks(stack(sets), shots=(2,), queries=3, selection=selection)


def test_fixed_tasks_are_each_scored_once():
    result = scores(tasks=fixed(), shots=(2, 4), count=50, batch=2)
    assert {row.tasks for row in result.rows} == {3}


def test_a_forecast_is_given_the_first_rows():
    tasks = fixed("first")
    result = scores(tasks=tasks, shots=(2,), queries=3)
    y = np.asarray(tasks.rows.y)[:, :, 0]
    expected = ((y[:, :2].mean(-1, keepdims=True) - y[:, 2:5]) ** 2).mean(-1)
    np.testing.assert_allclose(result.scores[2, None]["mse"], expected, rtol=1e-4)


def test_padding_of_fixed_tasks_changes_nothing():
    short, long = (fixed("first", counts) for counts in ((6, 9, 7), (6, 9, 7, 30)))
    one, other = (scores(tasks=t, shots=(2,), queries=20) for t in (short, long))
    for name, values in one.scores[2, None].items():
        np.testing.assert_allclose(other.scores[2, None][name][:3], values, rtol=1e-4, atol=1e-6, err_msg=name)


def test_too_many_shots_for_a_fixed_task_are_refused():
    with pytest.raises(InputError, match="use fewer shots"):
        scores(tasks=fixed(), shots=(6,))


def test_classes_are_scored_as_classes():
    result = scores(Guess(), None, Classes(), shots=(3,), count=400, queries=5)
    assert abs(result.get("nll", 3).mean - np.log(3)) < 1e-5
    row = result.get("accuracy", 3)
    assert row.low < 1 / 3 < row.high
    assert result.get("calibration", 3).mean < 0.05
    assert not any(row.metric == "mse" for row in result.rows)


@pytest.mark.slow
def test_intervals_cover_the_mean_of_very_many_tasks():
    truth = scores(shots=(3,), count=4000, batch=100).get("mse", 3).mean
    rows = [scores(shots=(3,), count=100, batch=100, seed=seed).get("mse", 3) for seed in range(1, 41)]
    held = sum(row.low <= truth <= row.high for row in rows)
    # 40 intervals that hold with probability 0.95: 33 or fewer have a chance of 1 in 1,000.
    assert held > 33


def test_regret_is_paired():
    ours, theirs = scores(meta=3.0), scores(meta=0.0)
    means = regret(ours, theirs, "mse")
    for (shots, _), (mean, low, high) in means.items():
        gap = ours.get("mse", shots).mean - theirs.get("mse", shots).mean
        np.testing.assert_allclose(mean, gap, rtol=1e-6)
        assert low < mean < high
    assert regret(ours, ours)[3, None] == (0.0, 0.0, 0.0)
    fewer = scores(meta=0.0, count=8, shots=(3, 5))
    assert regret(ours, fewer, "mse")[3, None] != means[3, None]
    with pytest.raises(InputError, match="one seed"):
        regret(ours, scores(seed=1))


def test_rows_become_json_and_a_table():
    result = scores(count=1)
    rows = json.loads(result.to_json())
    assert {row["metric"] for row in rows} >= {"mse", "nll", "crps", "coverage", "std", "calibration"}
    assert next(row for row in rows if row["metric"] == "mse")["low"] is None
    first = to_records({"mean": result})[0]
    assert (first["method"], first["low"]) == ("mean", None), "one task has no interval"
    assert "nan" not in "".join(str(cell) for column in result.table().columns for cell in column.cells)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(scores().table("mean"))
    assert "nll" in console.export_text()


def test_experts_train_with_few_of_them_and_answer_with_twice_as_many():
    method = build_method("experts")
    assert [(one.particles, one.kept_particles) for one in (method.learner, method.answerer)] == [(256, 16), (512, 64)]
    few = build_method("experts", particles=8)
    assert few.learner.kept == 1, "so few all go on"
    assert (few.answerer.particles, few.answerer.kept) == (256, 1)
    with pytest.raises(TypeError, match="those of GradientLearner are learned"):
        drawing(GRADIENT, 4)


def test_what_answers_must_fit_what_was_trained():
    method = methods.bfa(GaussianModel(MLP((1, 4, 1))), particles=3)
    with pytest.raises(PairError, match="give the learner itself with other settings"):
        Method(method.learner, method.objective, dataclasses.replace(method.learner, particles=4))
    longer = Method(method.learner, method.objective, dataclasses.replace(method.learner, steps=9))
    assert (longer.learner.steps, longer.answerer.steps) == (1, 9)
    assert method.answerer is method.learner


def longer(model, *, inner_steps=1):
    """A method that answers after more steps than it trains with."""
    method = methods.fomaml(model, inner_steps=inner_steps)
    return dataclasses.replace(method, answering=dataclasses.replace(method.learner, steps=9))


# Experts, which train with 16 kept of 256 and answer with 64 kept of 512, compile for long.
@pytest.mark.parametrize(
    ("name", "answers"),
    [("longer", {"steps": 9}), pytest.param("experts", {"particles": 512, "kept": 0.125}, marks=pytest.mark.costly)],
)
def test_every_front_door_answers_alike(name, answers, tmp_path, capsys):
    """A board trains a method. The board, `evaluate`, the command line and `run.adapt` answer as the method says."""
    METHODS.add(MethodSpec("longer", longer))
    arena = FamilyArena("maml-sinusoid", (3,))
    (entry,) = Board(arena, (name,), (0,), steps=1, count=8).run(tmp_path)
    run = load(tmp_path / "runs" / f"{name}-0")
    found = evaluate(run, arena.test(), shots=3, count=8, queries=arena.queries, seed=1)
    np.testing.assert_allclose(found.scores[3, None]["nll"], entry.scores[3, "nll"], rtol=1e-4)
    options = ("--shots", "3", "--count", "8", "--queries", str(arena.queries), "--seed", "1", "--json")
    assert command("evaluate", tmp_path / "runs" / f"{name}-0", *options) == 0
    shown = {row["metric"]: row["mean"] for row in json.loads(capsys.readouterr().out)}
    assert shown["nll"] == pytest.approx(found.get("nll", 3).mean, rel=1e-4)

    given, asked = task(kind=points).support, jnp.linspace(-2, 2, 5)[:, None]
    learner = dataclasses.replace(run.method.learner, **answers)
    assert learner != run.method.learner
    expected = jax.jit(lambda: learner.adapt(run.meta, given, key=jax.random.key(0)).predict(asked))()
    answer = run.adapt(given).predict(asked)
    np.testing.assert_allclose(answer.std, expected.std, rtol=1e-4)
    assert answer.mean.shape == (5, 1)


@pytest.mark.parametrize("wrong", [{"shots": ()}, {"shots": (-1,)}, {"count": 0}, {"queries": 0}, {"batch": 0}])
def test_counts_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InputError, match=r"give (whole numbers of at least 0|a whole number of at least 1)"):
        scores(**wrong)


class Sized(AbstractTasks):
    """Tasks of sinusoids that always give four points."""

    inputs: int = 1
    outputs: int = 1

    def sample(self, key):
        return Sinusoids(shots=4, queries=10).sample(key)


def test_tasks_are_given_as_many_shots_as_the_row_says_or_refused():
    """Also where they are made from another source; tasks that cannot be told how many to give have no score of so many."""
    key = jax.random.key(0)
    task = drawn_task(FiniteTasks(FAMILY, 3).sized(12, 9), key, jnp.asarray(0), jnp.asarray(7)).task
    assert (task.support.count, len(task.support.mask), task.query.count) == (7, 12, 9)
    assert scores(tasks=Sized(), shots=(2, 4)).rows
    with pytest.raises(InputError, match="Sized draws tasks with 4 shots and 5 are asked for: use at most 4"):
        scores(tasks=Sized())
    images = Bank(jnp.zeros((12, 2, 2, 1), jnp.uint8), (4, 4, 4), (3,), ("a", "b", "c"))
    episode = drawn_task(PartialTasks(Episodes(images, 2, queries=1)).sized(3, 1), key, jnp.asarray(0), jnp.asarray(2)).task
    assert not episode.support.mask[4:].any(), "two shots of two classes are four rows"
    assert len(episode.support.mask) == 6


class Doubled(AbstractTasks):
    """A stranger's source made of another one: its targets twice as large, what evaluation asks passed on."""

    source: AbstractTasks
    inputs: int = 1
    outputs: int = 1

    @property
    def limits(self):
        return self.source.limits

    def sized(self, shots, queries):
        return dataclasses.replace(self, source=self.source.sized(shots, queries))

    def truth(self, key, x):
        truth = self.source.truth(key, x)
        return None if truth is None else 2 * truth

    def sample(self, key):
        task = self.source.sample(key)
        return Task(task.support, dataclasses.replace(task.query, y=2 * task.query.y))


@pytest.mark.parametrize("make", [lambda f: FiniteTasks(f, 6), PartialTasks, Doubled])
def test_sources_made_from_others_pass_on_what_evaluation_asks(make):
    """Noise of deviation 2 (twice that where doubled) is in the targets and not in the truth."""
    noisy = make(dataclasses.replace(FAMILY, relative_noise=0.0, noise=2.0)).sized((4,), 100)
    deviation = 4.0 if isinstance(noisy, Doubled) else 2.0
    drawn = [drawn_task(noisy, jax.random.key(1), jnp.asarray(i), jnp.asarray(3)) for i in range(6)]
    gaps = np.concatenate([one.task.query.y - one.truth for one in drawn])
    assert gaps.std() == pytest.approx(deviation, rel=0.1)
    assert all(one.task.support.count <= 3 for one in drawn)


def test_a_finite_number_of_tasks_is_scored_each_once():
    finite = FiniteTasks(FAMILY, 5, seed=3)
    result = scores(tasks=finite, shots=(5,), count=50)
    assert {row.tasks for row in result.rows} == {5}
    each = [finite.source.sized(5, 8).sample(jax.random.fold_in(jax.random.key(3), i)) for i in range(5)]
    expected = [((one.support.y.mean() - one.query.y) ** 2).mean() for one in each]
    np.testing.assert_allclose(result.scores[5, None]["mse_noisy"], expected, rtol=1e-4)


@pytest.mark.unchecked
def test_what_is_no_run_or_no_source_is_said_so():
    with pytest.raises(InputError, match="run of evaluate is a MeanOfSupport: give a run, as bmaml"):
        evaluate(MEAN, FAMILY)
    with pytest.raises(InputError, match="tasks of evaluate is a Navigation: give a source of tasks"):
        evaluate(Predictor(MEAN, jnp.zeros(())), Navigation())


def test_a_row_that_was_not_scored_is_said_to_be_none():
    with pytest.raises(KeyError, match="no mse at 4 shots was scored: there is"):
        scores().get("mse", 4)
