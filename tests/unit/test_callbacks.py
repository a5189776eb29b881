"""What hears of a run: records at fixed steps, early stopping that resumes exactly, a user's own callback, trackers."""

import itertools
import json
import math
import os
import signal
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import MODEL, fixed_tasks, is_one_sentence

import bmaml
from bmaml.errors import InputError
from bmaml.methods import Method, fomaml
from bmaml.objectives import QueryLoss
from bmaml.objectives.base import AbstractObjective
from bmaml.tasks import Sinusoids
from bmaml.training.callbacks import Training
from bmaml.training.meta_step import draw_batch, step_keys
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan
from bmaml.training.progress import Progress
from bmaml.training.records import Ledger, as_line
from bmaml.training.trackers import MLflow, TensorBoard, Trackio, WandB

TASKS = Sinusoids((2, 4), queries=3)


def of_steps(begin, end):
    """Numbers of single meta-steps that can't be added exactly."""
    steps = np.arange(begin, end)
    return {"loss": (0.1 + 1e6 * (steps % 3)).astype(np.float32), "skipped": steps // 2, "nll": np.sqrt(steps)}


@pytest.mark.parametrize("cuts", [(0, 23), (0, 1, 7, 8, 19, 23), tuple(range(24))])
def test_records_do_not_depend_on_how_a_run_was_cut(cuts):
    """Nor on its being saved and taken up again as JSON between any two chunks."""
    plan, part, history = Plan(23, record_every=5), {}, []
    for begin, end in itertools.pairwise(cuts):
        ledger = Ledger(plan, history, json.loads(json.dumps(part)))
        history += ledger.add(begin, of_steps(begin, end))
        part = ledger.part
    whole = Ledger(plan).add(0, of_steps(0, 23))
    assert [record["step"] for record in whole] == [5, 10, 15, 20, 23]
    assert history == whole
    np.testing.assert_allclose([r["nll"] for r in whole[:2]], [np.sqrt(range(5)).mean(), np.sqrt(range(5, 10)).mean()])
    assert whole[1]["skipped"] == 4


def test_what_is_not_finite_is_left_out_and_null_in_a_line():
    numbers = {"loss": np.array([np.nan, 2.0, np.inf, np.nan]), "skipped": np.array([1, 1, 2, 3])}
    first, second = Ledger(Plan(4, record_every=2)).add(0, numbers)
    assert first == {"step": 2, "loss": 2.0, "skipped": 1}
    assert math.isnan(second["loss"])
    assert as_line(second) == '{"step": 4, "loss": null, "skipped": 3}\n'


class Told(AbstractObjective):
    """The query's loss, which tells the mean and the square of the query's targets."""

    name: str = eqx.field(static=True, default="target")

    def require(self, learner):
        pass

    def loss(self, learner, meta, task, *, key):
        return QueryLoss()(learner, meta, task, key=key)[0], {
            self.name: task.query.y.mean(),
            "square": (task.query.y**2).mean(),
        }


@pytest.mark.parametrize("groups", [1, 2])
def test_an_objectives_own_numbers_are_recorded_as_means_over_tasks(groups):
    tasks, plan = fixed_tasks(), Plan(4, 4, Adam(0.01), seed=3, record_every=2, accumulation_steps=groups)
    run = bmaml.train(Method(fomaml(MODEL).learner, Told()), tasks, plan)
    draw = jax.jit(lambda step: draw_batch(tasks, step_keys(plan.seed, step, plan.batch)).tasks.query.y)
    targets = np.stack([draw(step) for step in range(4)])
    for record, block in zip(run.history, targets.reshape(2, -1), strict=True):
        np.testing.assert_allclose(record["target"], block.mean(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run.history[0]["square"], (targets[:2] ** 2).mean(), rtol=1e-5)


def test_a_number_may_not_take_a_name_of_the_loops():
    with pytest.raises(InputError, match="another name than step, loss") as error:
        bmaml.train(Method(fomaml(MODEL).learner, Told("loss")), TASKS, steps=2, batch=2)
    assert is_one_sentence(error.value)


class Watch(bmaml.Callback):
    """A user's own: keeps what it hears, measures, and stops."""

    def __init__(self, until=None):
        self.until, self.heard = until, []

    def start(self, training):
        self.heard.append(("start", training.step))

    def measure(self, training):
        return {"size": jnp.abs(jax.tree.leaves(training.meta)[0]).max()}

    def record(self, training, record):
        assert record["step"] == training.step
        self.heard.append((record["step"], record["size"]))
        return "it is enough" if training.step == self.until else None

    def checkpoint(self, training):
        assert (training.directory / f"checkpoint-{training.step:08d}.safetensors").exists()
        self.heard.append(("checkpoint", training.step))

    def close(self):
        self.heard.append(("close",))


def test_a_users_callback_hears_measures_and_stops_at_fixed_steps(tmp_path):
    watch, plan = Watch(until=12), Plan(40, 2, Adam(0.01), record_every=4)
    run = bmaml.train(fomaml(MODEL), TASKS, plan, directory=tmp_path / "run", save_every=6, callbacks=watch)
    sizes = [record["size"] for record in run.history]
    order = [("start", 0), (4, sizes[0]), ("checkpoint", 6), (8, sizes[1]), (12, sizes[2]), ("checkpoint", 12), ("close",)]
    assert watch.heard == order
    assert (run.step, run.finished, run.stopped) == (12, True, "it is enough")
    assert "12 of 40 meta-steps (it is enough)" in repr(run)
    again = bmaml.resume(tmp_path / "run")
    assert (again.step, again.stopped, again.history) == (12, "it is enough", run.history)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == run.history
    # The callback changed nothing but where the run ended.
    alone = bmaml.train(fomaml(MODEL), TASKS, plan)
    assert [record["loss"] for record in alone.history[:3]] == [record["loss"] for record in run.history]


class PressCtrlC(Progress):
    """Interrupts a run that has made a number of meta-steps."""

    def __init__(self, at):
        self.at = at

    def update(self, step, loss, speed):
        if step >= self.at:
            signal.raise_signal(signal.SIGINT)


def stopping():
    """Early stopping that the test's run meets: the outer rate is too high for the loss to keep falling."""
    return bmaml.EarlyStopping(Sinusoids((2, 4), queries=3), every=4, patience=3, count=8, seed=7)


def test_early_stopping_keeps_the_best_and_resumes_exactly(tmp_path):
    """Killed between two looks and resumed, a run stops where the uninterrupted one does, with the same bytes."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    plan = Plan(400, 2, Adam(0.3, decay="none"), seed=2, record_every=2)
    whole = bmaml.train(fomaml(MODEL), TASKS, plan, directory=tmp_path / "whole", save_every=7, callbacks=stopping())
    looks = {record["step"]: record["validation"] for record in whole.history if "validation" in record}
    assert list(looks) == list(range(4, whole.step + 1, 4))
    best = min(looks, key=lambda step: looks[step])
    assert whole.step == best + 3 * 4 < plan.steps
    assert "has not fallen for 3 looks" in str(whole.stopped)
    # What the run answers with is what was judged best.
    judge = stopping()
    judge.start(Training(whole.method, plan, 0, whole.meta))
    ended = Training(whole.method, plan, 8, whole.meta)
    np.testing.assert_allclose(judge.measure(ended)["validation"], looks[best], rtol=1e-6)

    broken = tmp_path / "broken"
    with pytest.raises(bmaml.Interrupted):
        bmaml.train(
            fomaml(MODEL), TASKS, plan, directory=broken, save_every=7, callbacks=stopping(), progress=PressCtrlC(best + 1)
        )
    with pytest.raises(InputError, match="was trained with EarlyStopping: pass the same callbacks=") as error:
        bmaml.resume(broken)
    assert is_one_sentence(error.value)
    resumed = bmaml.resume(broken, callbacks=[stopping()])
    assert (resumed.step, resumed.stopped, resumed.history) == (whole.step, whole.stopped, whole.history)
    for a, b in zip(*(jax.tree.leaves(run.meta) for run in (whole, resumed)), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(*(jax.tree.leaves(bmaml.load(run.directory).meta) for run in (whole, resumed)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (broken / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


def test_early_stopping_may_judge_by_log_density():
    run = bmaml.train(
        fomaml(MODEL), TASKS, steps=2, batch=2, callbacks=bmaml.EarlyStopping(fixed_tasks(), judged="nll", count=5)
    )
    assert all(np.isfinite(record["validation"]) for record in run.history)


def test_optax_and_true_are_understood(capsys):
    run = bmaml.train(fomaml(MODEL), TASKS, outer=optax.adam(1e-3), steps=2, batch=2, progress=True)
    assert "learning_rate" not in run.history[0], "nothing is known of the rate of an optax transformation"
    assert "step 2/2" in capsys.readouterr().err


def test_print_of_a_run_is_short():
    run = bmaml.train(fomaml(MODEL), TASKS, steps=2, batch=2)
    assert repr(run) == f"Run(fomaml: GradientLearner with QueryLoss, 2 of 2 meta-steps, loss {run.loss:.4g}, not saved)"


def test_a_program_that_cannot_be_compiled_leaves_no_folder(tmp_path):
    with pytest.raises(InputError, match="another name"):
        bmaml.train(Method(fomaml(MODEL).learner, Told("loss")), TASKS, steps=2, batch=2, directory=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_overwrite_replaces_a_run_and_nothing_else(tmp_path):
    out = tmp_path / "run"
    first = bmaml.train(fomaml(MODEL), TASKS, steps=2, batch=2, directory=out)
    (out / "notes.txt").write_text("mine")
    (out / "checkpoint-mine.safetensors").write_text("mine")
    with pytest.raises(InputError, match="say overwrite=True"):
        bmaml.train(fomaml(MODEL), TASKS, steps=3, batch=2, directory=out)
    assert bmaml.load(out).step == first.step
    run = bmaml.train(fomaml(MODEL), TASKS, steps=3, batch=2, directory=out, overwrite=True)
    assert (bmaml.load(out).step, len(run.history)) == (3, 3)
    names = {"arrays.safetensors", "run.json", "manifest.json", "metrics.jsonl", "notes.txt", "checkpoint-mine.safetensors"}
    assert set(os.listdir(out)) - names == {f"checkpoint-{step:08d}.safetensors" for step in (1, 2, 3)}
    # A folder of the user's own is no run: nothing in it is touched.
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "run.json").write_text('{"mine": true}')
    with pytest.raises(InputError, match="is not a file of bmaml's"):
        bmaml.train(fomaml(MODEL), TASKS, steps=3, batch=2, directory=mine, overwrite=True)
    assert (mine / "run.json").read_text() == '{"mine": true}'


class StandIn:
    """A tracker's package in place of the real one: whatever is called is written down, with what it was given."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        def call(*given, **named):
            self.calls.append((name, given, named))
            return self

        return call


# A tracker, its package, how it tells a number, and how it ends.
TRACKERS = [
    (TensorBoard(), "tensorboardX", lambda step, loss: ("add_scalar", ("loss", loss, step), {}), "close"),
    (WandB("mine", id="a"), "wandb", lambda step, loss: ("log", ({"loss": loss},), {"step": step}), "finish"),
    (MLflow(), "mlflow", lambda step, loss: ("log_metrics", ({"loss": loss},), {"step": step}), "end_run"),
    (Trackio("mine"), "trackio", lambda step, loss: ("log", ({"loss": loss},), {"step": step}), "finish"),
]


@pytest.mark.parametrize(("tracker", "package", "told", "ended"), TRACKERS, ids=[row[1] for row in TRACKERS])
def test_trackers_hear_every_record_and_the_end(tracker, package, told, ended, monkeypatch, tmp_path):
    """Nothing that is not finite is sent, and a package that is not there is asked for by its extra."""
    training = Training(fomaml(MODEL), Plan(4), 0, None, tmp_path / "sine")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package} is not installed: pip install 'bmaml\[\w+\]'") as error:
        tracker.start(training)
    assert is_one_sentence(error.value)
    tracker.close()
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, package, stand_in)
    tracker.start(training)
    tracker.record(training, {"step": 2, "loss": 0.5, "nll": math.nan})
    tracker.record(training, {"step": 4, "loss": 0.25})
    tracker.close()
    tracker.close()
    begun = str(stand_in.calls[:2])
    assert "sine" in begun
    assert "GradientLearner" in begun
    assert stand_in.calls[2 if package in ("tensorboardX", "mlflow") else 1 :] == [
        told(2, 0.5),
        told(4, 0.25),
        (ended, (), {}),
    ]


def test_a_resumed_run_hides_the_events_after_its_checkpoint(monkeypatch, tmp_path):
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "tensorboardX", stand_in)
    tracker = TensorBoard(tmp_path)
    tracker.start(Training(fomaml(MODEL), Plan(4), 2, None))
    assert stand_in.calls == [("SummaryWriter", (), {"logdir": str(tmp_path), "purge_step": 3})]


def test_a_saved_model_keeps_the_plan_that_trained_it(tmp_path):
    """And not what the estimator's arguments say later: the command line would call the model unfinished."""
    rng = np.random.default_rng(0)
    model = bmaml.FewShotRegressor("linear", steps=3, batch=2, shots=2)
    model.fit(rng.normal(size=(24, 1)), rng.normal(size=24), groups=np.repeat(range(4), 6))
    model.set_params(steps=8000).save(tmp_path / "model")
    with pytest.raises(InputError, match="already holds a run"):
        model.save(tmp_path / "model")
    run = bmaml.load(tmp_path / "model")
    assert (run.steps, run.finished, run.history) == (3, True, model.run_.history)


class Broken(bmaml.Callback):
    """A user's callback with a fault, which shows at one meta-step."""

    def __init__(self, where, step=6):
        self.where, self.step = where, step

    def measure(self, training):
        return {"halved": training.step / 2} if self._works("measure", training.step) else {}

    def record(self, training, record):
        self._works("record", training.step)

    def final(self, meta):
        self._works("final", self.step)
        return jax.tree.map(jnp.negative, meta)

    def _works(self, where, step):
        return {}["nothing"] if (where, step) == (self.where, self.step) else True


@pytest.mark.parametrize("stops", [False, True])
def test_a_callback_that_cannot_say_what_a_run_answers_with_loses_no_meta_step(stops, tmp_path):
    """Resuming asks it again, and makes no further meta-step, also where another callback had ended the run."""
    plan, method, folder = Plan(9, 2, record_every=3), fomaml(MODEL), tmp_path / "run"
    others = [Stops(6)] if stops else []
    with pytest.raises(bmaml.CallbackError, match="the callback Broken raised an error"):
        bmaml.train(method, TASKS, plan, directory=folder, save_every=20, callbacks=[*others, Broken("final")])
    with pytest.warns(UserWarning, match="stopped before it found what it answers with: resume it"):
        kept = bmaml.load(folder)
    whole = bmaml.train(method, TASKS, plan, callbacks=others)
    assert (kept.step, kept.stopped) == (whole.step, whole.stopped) == ((6, "enough") if stops else (9, None))
    assert whole.finished
    assert not kept.finished
    assert eqx.tree_equal(kept.meta, whole.meta)
    resumed = bmaml.resume(folder, callbacks=[*others, Broken("nowhere")])
    for run in (resumed, bmaml.load(folder)):
        assert eqx.tree_equal(jax.tree.map(jnp.negative, run.meta), whole.meta)
        assert (run.step, run.stopped, run.finished) == (whole.step, whole.stopped, True)


class Stops(bmaml.Callback):
    """Ends a run at one meta-step."""

    def __init__(self, step):
        self.step = step

    def record(self, training, record):
        return "enough" if training.step == self.step else None


@pytest.mark.parametrize("where", ["measure", pytest.param("record", marks=pytest.mark.costly)])
def test_a_callback_with_a_fault_loses_no_meta_step(where, tmp_path):
    """Its error names it, and the run goes on from the meta-step at which it was raised."""
    plan, method = Plan(9, 2, record_every=3), fomaml(MODEL)
    with pytest.raises(bmaml.CallbackError, match=r"the callback Broken raised an error \(KeyError: 'nothing'\)") as caught:
        bmaml.train(method, TASKS, plan, directory=tmp_path / "run", save_every=9, callbacks=Broken(where))
    assert is_one_sentence(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)
    assert (caught.value.run.step, bmaml.load(tmp_path / "run").step) == (6, 6)
    whole, resumed = bmaml.train(method, TASKS, plan), bmaml.resume(tmp_path / "run", callbacks=Broken("nowhere"))
    assert eqx.tree_equal(jax.tree.map(jnp.negative, whole.meta), resumed.meta)
    assert [record["step"] for record in resumed.history] == [3, 6, 9]
    assert [record["loss"] for record in resumed.history] == [record["loss"] for record in whole.history]
