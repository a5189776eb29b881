"""What a package outside the library adds goes wherever the library's own goes: each kind of thing by one line."""

import importlib
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from cases import is_one_sentence, run

import bmaml
from bmaml.experiments.board.arenas import FamilyArena
from bmaml.learners.optimal import optimal_learner
from bmaml.methods import METHODS, Method, MethodSpec, Tuned, TunedImages
from bmaml.objectives import OBJECTIVES
from bmaml.recipes.families import build_method, build_tasks, methods_for
from bmaml.recipes.tables import regression_method
from bmaml.rows import PluginWarning

HERE = Path(__file__).parent
X, Y = [[-1.0], [0.0], [1.5]], [[1.0], [0.1], [1.4]]


@pytest.fixture
def stranger(monkeypatch, tables):
    """The stranger's file, found in the current folder."""
    monkeypatch.chdir(HERE)
    monkeypatch.syspath_prepend(str(HERE))
    sys.modules.pop("stranger", None)
    return importlib.import_module("stranger")


def trained(directory=None):
    return bmaml.train(build_method("smoother", "kinks"), build_tasks("kinks"), steps=3, batch=4, directory=directory)


def test_a_run_of_strangers_parts_is_loaded_by_another_process(stranger, tmp_path):
    """Learner, objective, network and tasks are saved by name: importing the file is all that the other process needs."""
    made = trained(tmp_path / "run")
    assert np.isfinite(made.history[-1]["loss"])
    code = (
        "import json, sys, stranger, bmaml; run = bmaml.load(sys.argv[1]);"
        f"mean = run.adapt({X}, {Y}).predict(bmaml.tasks.FAMILIES['kinks'].source().sample(__import__('jax').random.key(0))"
        ".query.x).mean; print(json.dumps([type(run.method.objective).__name__, mean.tolist()]))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(bmaml.__file__).parents[1])}
    call = [sys.executable, "-c", code, tmp_path / "run"]
    other = subprocess.run(call, cwd=HERE, env=environment, capture_output=True, text=True, check=True)
    objective, mean = json.loads(other.stdout)
    query = build_tasks("kinks").sample(jax.random.key(0)).query
    assert objective == "HuberLoss"
    np.testing.assert_allclose(made.adapt(X, Y).predict(query.x).mean, mean, rtol=1e-5)


def test_a_run_of_strangers_parts_is_evaluated(stranger):
    made = trained()
    scores = bmaml.evaluate(made, build_tasks("kinks"), shots=(2, 4), count=6).scores
    assert np.isfinite(scores[4, None]["nll"]).all()


def test_a_strangers_tasks_give_their_first_points_where_fewer_are_asked_for(stranger):
    """A source without `sized` is shortened: each count of shots is as likely, and scores at the most shots stay the same."""
    source = build_tasks("kinks")
    fewer = build_tasks("kinks", shots=(1, 3), queries=2)
    given = {int(fewer.sample(key).support.count) for key in jax.random.split(jax.random.key(0), 8)}
    assert given == {1, 3}
    task, whole = fewer.sample(jax.random.key(1)), source.sample(jax.random.split(jax.random.key(1))[0])
    assert (task.support.x.shape, task.query.x.shape) == ((3, 1), (2, 1))
    np.testing.assert_array_equal(task.query.y, whole.query.y[:2])
    assert source.sized(4, 6) is source
    made = trained()
    few, all_ = bmaml.evaluate(made, source, shots=3, queries=2, count=4), bmaml.evaluate(made, source, count=4)
    assert (list(few.scores), list(all_.scores)) == ([(3, None)], [(4, None)])


@pytest.mark.parametrize("asked", [{"shots": 9}, {"queries": 60}])
def test_more_points_than_a_strangers_tasks_have_are_refused(asked, stranger, refused, tmp_path):
    (option, number), *_ = asked.items()
    said = refused("train", "stranger:Kinks", "--method", "stranger:smoother", f"--{option}", number, "--out", tmp_path / "run")
    assert f"{number} are asked for" in said
    with pytest.raises(bmaml.InputError, match=f"{number} are asked for") as caught:
        bmaml.evaluate(trained(), build_tasks("kinks"), **asked)
    assert is_one_sentence(caught.value)


def test_the_command_line_trains_evaluates_and_compares_what_is_typed_as_a_path(stranger, tmp_path, capsys):
    new, board = tmp_path / "run", tmp_path / "board"
    paths = ("stranger:Kinks", "stranger:smoother")
    sizes = ("--steps", 2, "--batch", 2)
    assert run("train", paths[0], "--method", paths[1], *sizes, "--out", new) == 0
    assert run("--import", "stranger", "evaluate", new, "--count", 4, "--json") == 0
    out = capsys.readouterr().out
    assert {row["shots"] for row in json.loads(out[out.index("[") :])} == {4}
    size = ("--steps", 2, "--seeds", 1, "--count", 4)
    assert run("leaderboard", paths[0], "--methods", paths[1], *size, "--out", board) == 0
    assert "\nsmoother " in capsys.readouterr().out


def test_every_method_that_fits_is_made_for_a_strangers_tasks(stranger):
    """Settings for tables serve, and no row needs a word about the new family."""
    assert "smoother" in methods_for("kinks")
    assert {build_method(name, "kinks").name for name in methods_for("kinks")} == set(methods_for("kinks"))


def test_the_library_makes_a_strangers_method_for_its_own_tasks(stranger):
    assert regression_method("smoother", 3, 2).learner.network.inputs == 3
    assert build_method("smoother", "sinusoid", width=5).learner.network.width == 5
    assert bmaml.methods.smoother is stranger.smoother
    assert bmaml.methods.smoother(2, 1).name is None


def test_a_stranger_says_what_predicts_its_tasks_best(stranger):
    tasks = build_tasks("kinks")
    assert optimal_learner(tasks) is None
    best = stranger.SmoothingLearner(stranger.Waves(1))
    optimal_learner.register(stranger.Kinks, lambda tasks: best)
    assert optimal_learner(tasks.sized(2, 3)) is FamilyArena("kinks", (2,)).optimal() is best
    assert optimal_learner(build_tasks("maml-sinusoid")) is None, "without noise the best is a point"


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("sinusoid --method stranger:smother", "did you mean 'smoother'"),
        ("sinusoid --method stranger:Kinks", "the class Kinks, not an object of it, and no method"),
        ("sinusoid --method stranger:SmoothingLearner", r"returns bmaml.Method\(SmoothingLearner\(...\), objective\)"),
        ("sinusoid --method my/stranger.py:smoother", "give stranger:smoother, in the folder that holds stranger.py"),
        ("stranger:Smoothed", "the class Smoothed, .* no source of tasks"),
        ("stranger:SmoothingLearner", "the class SmoothingLearner, .* no source of tasks"),
        ("my/stranger.py:Kinks", "give stranger:Kinks, in the folder"),
        ("stranger.py", "give stranger:NAME"),
        ("sinusoid --method nowhere.to_be_found:f", "no module 'nowhere'"),
        ("stranger:Kinks --method protonet", "here numbers are to be predicted"),
        ("sinusoid --method maml --objective stranger:Waves", "the class Waves, .* no objective"),
        ("sinusoid --method maml --objective elbo", "Elbo needs"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(typed, says, stranger, refused, tmp_path):
    assert re.search(says, refused("train", *typed.split(), "--out", tmp_path / "run"))


def installed(folder, monkeypatch, module, points):
    """Lay out an installed package as an installer would: a module, and its entry points beside it."""
    (folder / "guests.py").write_text(module)
    info = folder / "guests-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guests\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("guests", None)
    importlib.invalidate_caches()


GUESTS = """
import bmaml
from bmaml.methods import MethodSpec, OfModel
from bmaml.tasks import TaskSpec, maml_sinusoids

def guest(model, *, inner_steps=1):
    return bmaml.methods.fomaml(model, inner_steps=inner_steps)

spec = MethodSpec("guest", guest, OfModel(), fits=("numbers", "classes"), papers=("x",), bibtex="@misc{x,\\n  title = {X}\\n}")
waves = TaskSpec("guest-waves", maml_sinusoids, shots=(2,), queries=3)
misnamed = MethodSpec("other", guest)
"""
POINTS = """[bmaml.methods]
guest = guests:spec
misnamed = guests:misnamed
gone = guests:nothing_there

[bmaml.tasks]
guest-waves = guests:waves
"""


def test_an_installed_package_adds_rows_and_a_broken_one_harms_nothing(tmp_path, monkeypatch):
    installed(tmp_path, monkeypatch, GUESTS, POINTS)
    assert "guests" not in sys.modules
    assert {"guest", "gone", "misnamed"} <= set(METHODS)
    assert build_tasks("guest-waves").shots == (2,)
    method = build_method("guest", "guest-waves")
    assert (method.name, method.learner.steps) == ("guest", 5)
    assert bmaml.cite(method) == "@misc{x,\n  title = {X}\n}\n"
    for broken in ("gone", "misnamed"):
        with pytest.raises(bmaml.InputError, match=f"'{broken}' of the package guests") as caught:
            build_method(broken)
        assert is_one_sentence(caught.value)
    with pytest.warns(PluginWarning) as caught:
        fits = methods_for("guest-waves")
    assert len(caught) == 2
    assert "guest" in fits
    assert "gone" not in fits


def test_the_command_line_knows_an_installed_packages_rows_and_names_a_broken_one(tmp_path, monkeypatch, refused, capfd):
    installed(tmp_path, monkeypatch, GUESTS, POINTS)
    assert "'gone' of the package guests" in refused("train", "guest-waves", "--method", "gone", "--out", tmp_path / "run")
    size = ("--steps", 1, "--seeds", 1, "--count", 2, "--shots", 2)
    assert run("leaderboard", "guest-waves", "--methods", "guest", *size, "--out", tmp_path / "board") == 0
    capfd.readouterr()
    monkeypatch.setattr("bmaml.methods.rows.METHODS._found", {})
    # All methods, and with these alone: those that can be used; the others are named.
    warnings.simplefilter("always", PluginWarning)
    assert run("leaderboard", "guest-waves", *size, "--out", tmp_path / "board") == 0
    notes = [line for line in capfd.readouterr().err.splitlines() if line.startswith("bmaml: note: ")]
    assert len(notes) == 2
    assert all(is_one_sentence(note.removeprefix("bmaml: note: ")) for note in notes)


def test_a_name_is_taken_once_and_easy_to_type():
    bmaml.methods.add(MethodSpec("mine", bmaml.methods.maml))
    for name in ("mine", "Mine", "my method", "maml"):
        with pytest.raises(bmaml.InputError) as caught:
            bmaml.methods.add(MethodSpec(name, bmaml.methods.maml))
        assert is_one_sentence(caught.value)


def test_the_librarys_learners_take_a_strangers_objective(stranger):
    named = build_method("maml", objective=OBJECTIVES.typed("stranger:HuberLoss").name)
    assert named.objective == stranger.HuberLoss()
    assert (named.name, named.learner) == (None, build_method("maml").learner)


def test_a_ready_method_is_a_row_too(stranger, monkeypatch):
    """A path may lead to a method itself; its settings are its own."""
    ready = Method(stranger.SmoothingLearner(stranger.Waves(1)), stranger.HuberLoss())
    monkeypatch.setattr(stranger, "ready", ready, raising=False)
    name = METHODS.typed("stranger:ready").name
    assert build_method(name, "kinks").learner == ready.learner
    with pytest.raises(bmaml.InputError, match="no inner steps to set"):
        build_method(name, "kinks", inner_steps=3)


def test_what_was_not_tuned_has_the_presets_own_settings():
    row = MethodSpec("plain", bmaml.methods.maml)
    assert (row.sinusoids, row.images) == (Tuned(), TunedImages())
    assert row.settings >= {"inner_steps", "clip"}
