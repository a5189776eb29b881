"""The loop: resuming, sharding, the guard against what is not finite, and what a saved run remembers."""

import dataclasses
import json
import signal
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import MODEL, fixed_tasks, in_new_process, is_one_sentence, jit

import bmaml
from bmaml.experiments import training_curves as progress
from bmaml.experiments.numbers import Numbers
from bmaml.inference.adjoints import FirstOrder
from bmaml.inference.directions import Langevin
from bmaml.learners import GradientLearner, Sgd
from bmaml.methods import Method, fomaml
from bmaml.models import Functional, GaussianModel
from bmaml.objectives import QueryLoss
from bmaml.tasks import AbstractTasks, Sinusoids
from bmaml.training.interrupt import Interrupt
from bmaml.training.loop import Loop, NonFiniteError
from bmaml.training.meta_step import batch_gradient, draw_batch, step_keys
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan
from bmaml.training.progress import Progress

# Random tasks and a random direction: whatever depended on more than the seed and the step would show.
RANDOM = Method(
    GradientLearner(MODEL, rule=Sgd(1e-4), particles=2, direction=Langevin(1e-4), adjoint=FirstOrder()), QueryLoss()
)
TASKS = Sinusoids((2, 4), queries=3)
PLAN = Plan(30, 4, Adam(0.01), seed=5)


class PressCtrlC(Progress):
    """Interrupts the run as a user does, at the end of a chunk."""

    def update(self, step, loss, speed):
        if step >= 10:
            signal.raise_signal(signal.SIGINT)


class Crash(Progress):
    """Dies between a chunk and its checkpoint."""

    def update(self, step, loss, speed):
        if step >= 20:
            raise RuntimeError("power cut")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of 30 steps, and the same stopped at 10 by Ctrl-C, killed at 20 before it could save, and resumed."""
    whole, broken = tmp_path_factory.mktemp("whole") / "run", tmp_path_factory.mktemp("broken") / "run"
    straight = bmaml.train(RANDOM, TASKS, PLAN, directory=whole, save_every=10)
    with pytest.raises(bmaml.Interrupted) as stop:
        bmaml.train(RANDOM, TASKS, PLAN, directory=broken, save_every=10, progress=PressCtrlC())
    with pytest.raises(RuntimeError, match="power cut"):
        bmaml.resume(broken, progress=Crash())
    resumed = bmaml.resume(broken)
    return {"whole": whole, "broken": broken, "straight": straight, "stop": stop.value, "resumed": resumed}


def test_ctrl_c_raises_with_the_run_so_far_and_its_folder(runs):
    stop = runs["stop"]
    assert isinstance(stop, KeyboardInterrupt)
    assert (stop.run.step, stop.run.finished, stop.directory) == (10, False, runs["broken"])
    what = "training was stopped by Ctrl-C or SIGTERM at meta-step 10 of 30"
    assert str(stop) == f"{what}: go on with bmaml.resume({str(runs['broken'])!r})."
    assert runs["straight"].finished


@pytest.mark.costly
def test_an_experiment_that_ctrl_c_stops_goes_on_where_it_was(tmp_path):
    """And to no other training; its trainings are numbered, and what is finished is not trained again."""
    size = {"settings": ("tuned",), "steps": 40, "shots": (2,), "tasks": (4,), "test_tasks": 2, "marks": 2}
    titles, once = [], {"methods": ("pretrain",), "seeds": (0, 1), "directory": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        progress.run(progress=lambda title: titles.append(title) or PressCtrlC(), **once, **size)
    assert titles == ["training 1 of 2: pretrained, fine-tuned, 2-shot, 4 tasks, tuned settings, seed 0"]
    whole = progress.run(**once, **size)
    again = progress.run(progress=lambda title: Crash(), **once, **size)
    assert whole.rows == again.rows
    assert whole.distinct("step") == [0, 20, 40]
    own = [row for row in whole.where(seed=1, step=40, score="ensemble") if row["inner_steps"] == row["own_steps"]]
    assert len(own) == 1


def test_a_table_of_several_seeds_says_what_most_of_them_do():
    """One seed that diverged is no mean of all."""

    def table(*errors):
        rows = [("paper", i, 5, 100, "maml", 40, 1, 1, name, e, e, e) for i, e in enumerate(errors) for name in progress.SCORES]
        return progress.markdown(Numbers(progress.COLUMNS, rows)).splitlines()[-1]

    assert "| 3 | 40 | 1 | 2.5 | 2.5 | 2.5 | 2.5 |" in table(2.5, float("nan"), 2.25)
    assert "| 3 | 40 | 1 | diverges | diverges |" in table(float("inf"), float("nan"), 2.25)


def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(runs):
    """All of it: meta-parameters, optimiser, counters; the files are the same bytes."""
    last = "checkpoint-00000030.safetensors"
    assert (runs["whole"] / last).read_bytes() == (runs["broken"] / last).read_bytes()
    for a, b in zip(jax.tree.leaves(runs["straight"].meta), jax.tree.leaves(runs["resumed"].meta), strict=True):
        np.testing.assert_array_equal(a, b)
    start = jax.tree.leaves(runs["stop"].run.meta)
    assert any((a != b).any() for a, b in zip(jax.tree.leaves(runs["resumed"].meta), start, strict=True)), "it went on"


def test_records_lie_at_fixed_steps_and_are_the_same_whatever_broke_the_run(runs):
    """And a line of JSON each, byte for byte: what was written after the last checkpoint is dropped and written again."""
    assert [record["step"] for record in runs["straight"].history] == list(range(1, 31))
    assert runs["resumed"].history == runs["straight"].history
    lines = (runs["whole"] / "metrics.jsonl").read_text()
    assert (runs["broken"] / "metrics.jsonl").read_text() == lines
    assert [json.loads(line) for line in lines.splitlines()] == runs["straight"].history
    assert runs["straight"].history[9].keys() == {"step", "loss", "learning_rate", "skipped"}
    assert runs["straight"].seconds > 0


def test_no_point_may_be_one_of_the_shots():
    """A third of the tasks each; those without a point still ask for all of the query."""
    draws = jit(jax.vmap(bmaml.tasks.Sinusoids((0, 2, 4), 3).sample))(jax.random.split(jax.random.key(0), 300))
    assert (np.bincount(np.asarray(draws.support.count, int)) > 70).tolist() == [True, False, True, False, True]
    assert (draws.query.count == 3).all()


def test_resuming_a_finished_run_changes_nothing(runs):
    before = (runs["whole"] / "manifest.json").read_bytes()
    again = bmaml.resume(runs["whole"])
    assert again.finished
    assert (runs["whole"] / "manifest.json").read_bytes() == before


def test_a_saved_run_is_loaded_by_name_alone_in_another_process(runs):
    code = f"""
        import bmaml, json
        run = bmaml.load({str(runs["whole"])!r})
        predictive = run.adapt([0.5, 1.0], [0.1, 0.2]).predict(__import__("numpy").asarray([[0.0], [2.0]], "float32"))
        print(json.dumps([run.step, run.finished, len(run.history), predictive.mean.tolist(), predictive.std.tolist()]))
    """
    run = runs["straight"]
    predictive = run.adapt([0.5, 1.0], [0.1, 0.2]).predict(np.asarray([[0.0], [2.0]], "float32"))
    step, finished, records, mean, std = json.loads(in_new_process(code))
    assert (step, finished, records) == (30, True, len(run.history))
    np.testing.assert_allclose(mean, predictive.mean, rtol=1e-6)
    np.testing.assert_allclose(std, predictive.std, rtol=1e-6)
    with pytest.raises(bmaml.InputError, match="give x and y"):
        run.adapt([0.5, 1.0])


def test_groups_of_tasks_add_up_to_the_whole_meta_batch(x64):
    method, batch = fomaml(MODEL), jit(lambda: draw_batch(TASKS, step_keys(0, 3, 8)))()
    meta = jit(method.learner.init)(jax.random.key(1))
    answers = [jit(lambda m, g=g: batch_gradient(method, m, batch, g))(meta) for g in (1, 4)]
    for a, b in zip(*map(jax.tree.leaves, answers), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
    assert len(answers[0][1]) == 8


def test_a_step_draws_its_own_tasks_and_always_the_same():
    keys = {step: jax.random.key_data(step_keys(5, step, 4)).tolist() for step in (0, 1)}
    assert keys[0] != keys[1]
    assert keys[1] == jax.random.key_data(step_keys(5, 1, 4)).tolist()
    assert keys[1] != jax.random.key_data(step_keys(6, 1, 4)).tolist()


def test_tasks_drawn_in_blocks_are_those_of_their_steps_however_a_run_is_cut():
    """Past the 64 steps whose tasks are drawn together: the last step's loss is that of the tasks that its keys draw."""
    plan = Plan(70, 4, Adam(0.01), seed=3)
    whole, cut = (Loop(fomaml(MODEL), TASKS, plan) for _ in range(2))
    whole.compile()
    cut.compile()
    whole.advance(69)
    for count in (5, 61, 3):
        cut.advance(count)
    for a, b in zip(*(jax.tree.leaves(loop.state) for loop in (whole, cut)), strict=True):
        np.testing.assert_array_equal(a, b)
    meta = jax.tree.map(jnp.copy, whole.state.meta)
    batch = jit(lambda: draw_batch(TASKS, step_keys(plan.seed, 69, plan.batch)))()
    loss = jit(lambda: batch_gradient(fomaml(MODEL), meta, batch)[0])()
    np.testing.assert_allclose(whole.advance(1)["loss"], loss, rtol=1e-5)


class Poisoned(AbstractTasks):
    """Sinusoids of which a share have a target that is no number."""

    share: jax.Array
    inputs: ClassVar[int] = 1
    outputs: ClassVar[int] = 1

    def poisoned(self, key):
        return jax.random.bernoulli(jax.random.fold_in(key, 9), self.share)

    def sample(self, key):
        one = TASKS.sample(key)
        return eqx.tree_at(lambda t: t.query.y, one, jnp.where(self.poisoned(key), jnp.nan, one.query.y))


def poisoned_steps(tasks, plan, steps):
    """The steps and places in the meta-batch whose tasks are poisoned, by drawing them again."""
    found = []
    for step in range(steps):
        bad = [bool(tasks.poisoned(jax.random.split(key)[0])) for key in step_keys(plan.seed, step, plan.batch)]
        found += [(step, bad.index(True))] if any(bad) else []
    return found


def test_the_guard_skips_what_is_not_finite_and_names_it():
    tasks, steps = Poisoned(jnp.asarray(0.15)), 16
    plan = Plan(100, 4, Adam(0.01, decay="none"), seed=1)
    bad = poisoned_steps(tasks, plan, steps)
    assert 2 <= len(bad) < steps
    loop = Loop(fomaml(MODEL), tasks, dataclasses.replace(plan, skip_limit=len(bad)))
    loop.compile()
    record = loop.advance(steps)
    assert record["skipped"] == len(bad)
    assert tuple(loop.state.bad.tolist()) == bad[-1]
    assert np.isfinite(record["loss"]), "the mean is over the finite steps"
    before = jax.tree.map(np.asarray, (loop.state.meta, loop.state.optimiser))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(before))
    # From here on every task is poisoned: nothing moves, and the limit stops the run.
    loop.tasks = Poisoned(jnp.asarray(1.0))
    with pytest.raises(NonFiniteError, match=rf"{len(bad) + 3} meta-steps .* step {steps + 2} in task 0") as error:
        loop.advance(3)
    assert is_one_sentence(error.value)
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves((loop.state.meta, loop.state.optimiser)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_guard_says_where_only_the_gradient_is_not_finite():
    """sqrt(p^2) at p = 0: a finite loss whose gradient is not."""
    network = Functional(lambda key: jnp.zeros(()), lambda p, x: x * jnp.sqrt(p**2))
    method = Method(GradientLearner(GaussianModel(network), steps=0), QueryLoss())
    loop = Loop(method, TASKS, Plan(10, 2, Adam(0.01), skip_limit=0))
    loop.compile()
    with pytest.raises(NonFiniteError, match="step 1 in the gradient"):
        loop.advance(2)


def test_without_a_directory_nothing_is_written(tmp_path, monkeypatch, compilations):
    """And a whole run compiles its loop once, however its chunks are cut."""
    monkeypatch.chdir(tmp_path)
    bmaml.train(fomaml(MODEL), fixed_tasks(), steps=3, batch=2)
    before = len(compilations)
    run = bmaml.train(fomaml(MODEL), fixed_tasks(), steps=60, batch=2, seed=3)
    assert run.finished
    assert len(compilations) - before <= 2, "the loop, and the initial state where the seed is a new constant"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "build",
    [
        lambda: bmaml.tasks.Sinusoids((0,)),
        lambda: bmaml.tasks.Sinusoids((-1, 3)),
        lambda: Plan(steps=0),
        lambda: Plan(batch=0),
        lambda: Plan(batch=16, accumulation_steps=3),
        lambda: Plan(accumulation_steps=0),
        lambda: Plan(seed=-1),
        lambda: Plan(steps=1e3),
        lambda: Plan(batch=True),
        lambda: Plan(record_every=0),
        lambda: Plan(outer=1e-3),
        lambda: Plan(seed=2**32),
        lambda: Adam(learning_rate=0.0),
        lambda: Adam(learning_rate=-1e-3),
        lambda: Adam(learning_rate=float("nan")),
        lambda: Adam(decay="linear"),
        lambda: Adam(warmup=1.5),
        lambda: Adam(clip=0.0),
        lambda: Adam(weight_decay=-1.0),
        lambda: Sgd(0.0),
        lambda: GradientLearner(MODEL, clip=0.0),
        lambda: GradientLearner(MODEL, particles=0),
        lambda: GradientLearner(MODEL, steps=-1),
        lambda: GradientLearner(MODEL, fit="max"),
        lambda: bmaml.train(fomaml, TASKS),
        lambda: bmaml.train("maml", TASKS),
        lambda: bmaml.train(fomaml(MODEL).learner, TASKS),
        lambda: bmaml.train(TASKS, fomaml(MODEL)),
        lambda: bmaml.train(fomaml(MODEL), Sinusoids),
        lambda: bmaml.train(fomaml(MODEL), TASKS, 2000),
        lambda: bmaml.train(fomaml(MODEL), TASKS, step=2000),
        lambda: bmaml.train(fomaml(MODEL), TASKS, progress="bar"),
        lambda: bmaml.train(fomaml(MODEL), TASKS, callbacks=print),
        lambda: bmaml.EarlyStopping(fomaml(MODEL)),
        lambda: bmaml.EarlyStopping(TASKS, patience=0),
        lambda: bmaml.train(fomaml(MODEL), TASKS, save_every=0, directory="unused"),
        lambda: bmaml.train(fomaml(MODEL), TASKS, keep=0, directory="unused"),
    ],
)
@pytest.mark.unchecked
def test_settings_that_make_no_sense_are_refused_in_a_sentence(build, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"give|use") as error:
        build()
    assert is_one_sentence(error.value)
    assert not list(tmp_path.iterdir())


def test_schedules_are_what_they_say():
    cosine = Adam(1.0, warmup=0.1).schedule(100)
    np.testing.assert_allclose([float(cosine(s)) for s in (0, 10, 55, 100)], [0, 1, 0.5, 0], atol=1e-6)
    exponential = Adam(1.0, decay="exponential").schedule(1000)
    np.testing.assert_allclose([float(exponential(s)) for s in (0, 5, 10, 1000)], [1, 0.98**0.5, 0.98, 0.98**100], rtol=1e-5)
    assert float(Adam(0.3, decay="none").schedule(10)(7)) == pytest.approx(0.3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_before_the_loop_begins_is_not_forgotten(number, monkeypatch, tmp_path):
    """As a run's first state is made: a KeyboardInterrupt there may be raised in a callback of JAX, which drops it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    begin, sent = Method.begin, []

    def slowly(self, plan):
        # Once: the state's size is asked for before the state is made, and a second signal would stop at once.
        if not sent:
            sent.append(number)
            signal.raise_signal(number)
        return begin(self, plan)

    monkeypatch.setattr(Method, "begin", slowly)
    with pytest.raises(bmaml.Interrupted, match="no checkpoint was written") as stop:
        bmaml.train(fomaml(MODEL), TASKS, Plan(20, 4, Adam(0.01)), directory=tmp_path / "run")
    assert (stop.value.run.step, stop.value.run.finished) == (0, False)
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_ctrl_c_stops_at_once():
    # A shell starts what runs in its background deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.raised
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
