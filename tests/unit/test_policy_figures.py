"""Figures of policies: runs grouped by method, returns pooled over seeds, paths that the plane allows."""

import dataclasses

import numpy as np
import pytest
from typer.testing import CliRunner

import bmaml
from bmaml.cli import app
from bmaml.errors import InputError
from bmaml.experiments.policies import paths, policies_of, progress_of, returns
from bmaml.models import MLP, GaussianPolicy
from bmaml.rl import POLICY_METHODS, Navigation, Sampling
from bmaml.rl.returns import RETURN, evaluate_policies
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan

POLICY, WORLD = GaussianPolicy(MLP((2, 3, 2), "tanh"), 2), Navigation(horizon=6)
PLAN = Plan(2, 2, Adam(0.01), skip_limit=0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two seeds of MAML and one of Reptile, which has two particles."""
    root, made = tmp_path_factory.mktemp("policies"), []
    for name, seed in (("maml", 0), ("maml", 1), ("reptile", 0)):
        method = POLICY_METHODS[name].preset(POLICY, sampling=Sampling(2), **({"particles": 2} if name == "reptile" else {}))
        about = {"kind": "control", "tasks": "navigation", "method": name}
        made.append(root / f"{name}-{seed}")
        bmaml.train(method, WORLD, dataclasses.replace(PLAN, seed=seed), directory=made[-1], about=about)
    return made


def test_seeds_of_a_method_are_pooled_task_by_task(folders):
    runs, world = policies_of(folders)
    assert {name: len(several) for name, several in runs.items()} == {"maml": 2, "reptile": 1}
    assert world == WORLD
    # As many tasks and updates as a quick figure has, which then compiles nothing again.
    each = [evaluate_policies(run.method, run.meta, WORLD, updates=3, count=40) for run in runs["maml"]]
    wanted = np.mean([one.scores[2, 1][RETURN] for one in each])
    (row,) = returns(runs, world, count=40).where(method="maml", updates=1)
    assert row["return"] == pytest.approx(wanted)
    assert (row["runs"], row["tasks"]) == (2, 40)
    assert row["low"] < row["return"] < row["high"]


def test_paths_start_at_the_origin_and_take_no_longer_step_than_the_reach(folders):
    rows = paths(*policies_of(folders), episodes=2).where()
    walks = {}
    for row in rows:
        walks.setdefault(tuple(row[k] for k in ("method", "task", "updates", "particle", "episode")), []).append(row)
    assert len(walks) == 3 * 2 * 2 * (1 + 2), "tasks, updates, episodes, particles of both methods"
    for walk in walks.values():
        places = np.asarray([(row["x"], row["y"]) for row in walk])
        assert 1 < len(places) <= WORLD.horizon
        assert np.all(places[0] == 0)
        assert np.abs(np.diff(places, axis=0)).max() <= WORLD.reach + 1e-6


def test_training_is_drawn_from_what_the_runs_noted(folders):
    runs, _ = policies_of(folders)
    rows = progress_of(runs).where(method="maml", run=1)
    assert [row["return"] for row in rows] == [-record["loss"] for record in runs["maml"][1].history]


def test_runs_of_no_policy_or_of_several_families_are_refused(folders, tmp_path):
    method = POLICY_METHODS["maml"].preset(POLICY, sampling=Sampling(2))
    for kind, tasks in (("control", "navigation-sparse"), ("family", "sinusoid")):
        bmaml.train(method, WORLD, PLAN, directory=tmp_path / kind, about={"kind": kind, "tasks": tasks, "method": "maml"})
    with pytest.raises(InputError, match="navigation, navigation-sparse: give runs of one family"):
        policies_of([folders[0], tmp_path / "control"])
    with pytest.raises(InputError, match="family is not a run of policies"):
        policies_of([tmp_path / "family"])


@pytest.mark.slow
def test_the_figures_are_drawn_with_their_numbers_beside_them(folders, tmp_path):
    given = ",".join(str(folder) for folder in folders)
    for name in ("returns", "paths"):
        result = CliRunner().invoke(app, ["figure", name, "--quick", "--runs", given, "--out", str(tmp_path)])
        assert result.exit_code == 0, result.output
    for file in ("returns.csv", "returns-training.csv", "returns.png", "paths.csv", "paths.png"):
        assert (tmp_path / file).stat().st_size > 0
