"""EM for the masses of a prior: a round is the mean posterior probability, and a run answers with what the rounds found."""

import dataclasses
import signal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import is_one_sentence, jit

import bmaml
from bmaml.errors import InputError, PairError
from bmaml.learners import ConjugateLearner, GradientLearner
from bmaml.learners.exact_heads import RelativeHead
from bmaml.methods import Method
from bmaml.models import MLP, GaussianModel, MLPFeatures
from bmaml.objectives import QueryLoss
from bmaml.tasks import Sinusoids
from bmaml.training import masses
from bmaml.training.loop import Loop
from bmaml.training.masses import EvidenceMasses
from bmaml.training.plan import Plan
from bmaml.training.progress import Progress

TASKS = Sinusoids(shots=(3, 6), queries=4)
HEAD = RelativeHead(centres=3, cells=5)
LEARNER = ConjugateLearner(MLPFeatures(1, hidden=(8,), learned=4, code=1), particles=12, codes="drawn", head=HEAD)
PLAN = Plan(60, 8)
FEW = EvidenceMasses(tasks=1_000, share=10.0, rounds=2)


@pytest.fixture(scope="module", autouse=True)
def one_program():
    """The rounds of this file share a program: what is compiled depends on the learner and the number of tasks in a call."""
    made, compile_gradient = {}, masses._gradient

    def gradient(learner, meta, source, keys):
        name = str((learner, source, len(keys)))
        if name not in made:
            made[name] = compile_gradient(learner, meta, source, keys)
        return made[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masses, "_gradient", gradient)
        yield


def softmax(leaves):
    return [np.asarray(jax.nn.softmax(leaf, -1)) for leaf in leaves]


def test_a_round_is_the_mean_posterior_probability_of_each_component():
    """Of cells and centres by their own posterior, whatever the gradient says."""
    meta = jit(LEARNER.init)(jax.random.key(3))
    once = EvidenceMasses(tasks=1_000, share=10.0, rounds=1, inertia=1e-6)
    found = softmax(LEARNER.masses(once(LEARNER, meta, TASKS, PLAN)))

    @jit
    @jax.vmap
    def responsibilities(key):
        task_key, own_key = jax.random.split(key)
        posterior = LEARNER.adapt(meta, TASKS.sized((6,), 1).sample(task_key).support, key=own_key)
        weights = jax.nn.softmax(posterior.log_weights)
        within = jax.nn.softmax(posterior.heads.log_weights.reshape(12, -1), -1).reshape(12, 3, 5)
        joint = weights[:, None, None] * within
        return joint.sum((0, 1)), joint.sum((0, 2))

    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(PLAN.seed), PLAN.steps), 0)
    cells, centres = (np.asarray(each.mean(0)) for each in responsibilities(jax.random.split(key, 1_000)))
    for mass, mean in zip(found[1:], (cells, centres), strict=True):
        least = np.maximum(mean, 0.05 / len(mean))  # Even masses, of which a twentieth is left at least.
        np.testing.assert_allclose(mass.ravel(), least / least.sum(), atol=2e-5)


def test_rounds_raise_the_evidence_of_new_tasks():
    meta = jit(LEARNER.init)(jax.random.key(3))
    tasks = TASKS.sized((6,), 1)

    @jit
    def evidence(meta):
        keys = jax.random.split(jax.random.key(99), 400)
        return jax.vmap(lambda key: LEARNER.weigh(meta, tasks.sample(key).support, key=key)[1])(keys).mean()

    after = dataclasses.replace(FEW, tasks=2_000)(LEARNER, meta, TASKS, PLAN)
    assert evidence(after) > evidence(meta) + 0.1
    for mass in softmax(LEARNER.masses(after)):
        np.testing.assert_allclose(mass.sum(-1), 1, rtol=1e-5)
    held = [eqx.tree_at(LEARNER.masses, each, (None,) * 3, is_leaf=lambda leaf: leaf is None) for each in (meta, after)]
    held = [jax.tree.map(np.asarray, each) for each in held]
    assert eqx.tree_equal(*held), "all else stays as it was"


class PressCtrlC(Progress):
    """Interrupts a run as a user does, while the masses are found."""

    def say(self, what):
        if "round 2 of 2" in what:
            signal.raise_signal(signal.SIGINT)


def test_a_run_answers_with_the_masses_also_after_ctrl_c_while_they_were_found(tmp_path):
    method, folder = Method(LEARNER, QueryLoss(evidence=0.01), masses=FEW), tmp_path / "run"
    with pytest.raises(bmaml.Interrupted) as stopped:
        bmaml.train(method, TASKS, PLAN, directory=folder, save_every=30, progress=PressCtrlC())
    with pytest.warns(UserWarning, match="stopped before it found what it answers with: resume it"):
        kept = bmaml.load(folder)
    kept.save(tmp_path / "copy")
    with pytest.warns(UserWarning, match="copy has made its meta-steps"):
        copy = bmaml.load(tmp_path / "copy")
    so_far = stopped.value.run.meta
    for run in (stopped.value.run, kept, copy):
        assert eqx.tree_equal(run.meta, so_far), "no meta-step is lost"
        assert run.step == PLAN.steps
        assert not run.finished
    resumed = bmaml.resume(folder)
    assert eqx.tree_equal(resumed.meta, FEW(LEARNER, so_far, TASKS, PLAN))
    assert eqx.tree_equal(resumed.meta, bmaml.train(method, TASKS, PLAN).meta), "as a run that nobody stopped"
    assert eqx.tree_equal(bmaml.load(folder).meta, resumed.meta)
    assert resumed.finished
    (folder / "checkpoint-00000060.safetensors").unlink()
    with pytest.warns(UserWarning, match="is gone"):
        assert eqx.tree_equal(bmaml.resume(folder).meta, resumed.meta), "from the middle of the run, too"


class OfOneSize(Sinusoids):
    """Tasks that cannot be drawn with one query point."""

    def sized(self, shots, queries):
        raise InputError(f"these tasks have 4 query points and {queries} is asked for: use 4.")


def test_tasks_without_the_sizes_that_masses_need_are_refused_before_training():
    with pytest.raises(InputError, match="use 4"):
        Loop(Method(LEARNER, QueryLoss(), masses=FEW), OfOneSize(shots=(3, 6), queries=4), PLAN)


def test_a_short_training_keeps_its_masses():
    meta = LEARNER.init(jax.random.key(3))
    assert EvidenceMasses()(LEARNER, meta, TASKS, PLAN) is meta


def test_learned_codes_keep_theirs():
    learner = dataclasses.replace(LEARNER, codes="learned")
    meta = learner.init(jax.random.key(3))
    assert learner.masses(meta) == ()
    assert FEW(learner, meta, TASKS, PLAN) is meta


def test_a_learner_without_evidence_and_sizes_that_make_no_sense_are_refused():
    with pytest.raises(PairError, match="masses=None") as pair:
        Method(GradientLearner(GaussianModel(MLP((1, 4, 1)))), QueryLoss(), masses=EvidenceMasses())
    assert is_one_sentence(pair.value)
    for wrong in ({"tasks": 999}, {"rounds": 0}, {"rounds": 101}, {"share": 0.0}, {"inertia": 0.0}):
        with pytest.raises(InputError) as error:
            EvidenceMasses(**wrong)
        assert is_one_sentence(error.value)


def test_what_no_task_has_loses_its_mass_and_stays_finite():
    log_masses = (jnp.zeros((1, 4)),)
    gradient = (jnp.array([[0.75, -0.25, -0.25, -0.25]]),)
    (mass,) = EvidenceMasses()._moved(log_masses, gradient, 10**6)
    np.testing.assert_allclose(mass, np.array([[1.0, 0.0125, 0.0125, 0.0125]]) / 1.0375, rtol=1e-3)
