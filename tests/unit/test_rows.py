"""Tables of rows: what each row says is there, is used, and is true of what it builds."""

import dataclasses
import inspect
import re

import pytest
from cases import FEATURES, run

import bmaml
from bmaml.experiments.board.arenas import FamilyArena
from bmaml.learners import ConjugateLearner
from bmaml.methods import METHODS, POLICY_METHODS, fitting
from bmaml.methods.citations import link, papers, papers_of
from bmaml.models import MLP, GaussianModel
from bmaml.objectives import QueryLoss
from bmaml.recipes.families import build_method, build_plan

ROWS = [*METHODS.known(), *POLICY_METHODS.known()]


def test_every_method_names_its_papers():
    for row in ROWS:
        assert len(papers_of(row)) == len(row.papers) > 0, row.name
    for key, entry in papers().items():
        assert re.fullmatch(r"[a-z]+\d{4}", key)
        assert entry.count("{") == entry.count("}")
        assert {"title", "author", "year", "url"} <= set(re.findall(r"(?m)^  (\w+) =", entry)), key
        assert re.match(r"https://(arxiv\.org/abs/|doi\.org/10\.|openreview\.net/)", link(entry)), key


@pytest.mark.unchecked
def test_a_method_a_run_and_a_name_are_cited_alike():
    method = bmaml.methods.bmaml(GaussianModel(MLP((1, 2, 1))))
    trained = bmaml.Run(method, None, 0, 1)
    assert bmaml.cite(method) == bmaml.cite(trained) == bmaml.cite("shared-bmaml")
    assert bmaml.cite(method).count("@inproceedings") == 2
    assert "schulman2015" in bmaml.cite("maml")  # for policies
    for unknown in ("bmalm", bmaml.Method(method.learner, method.objective)):
        with pytest.raises(bmaml.InputError):
            bmaml.cite(unknown)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name} for {row.fits[-1]}")
def test_settings_of_a_row_are_arguments_of_its_preset(row):
    for tuned in (row.sinusoids, row.tables, row.images, row.processes or row.tables):
        row.check(tuned.settings)
    assert row.summary.endswith(".")
    places = [p for p in inspect.signature(row.preset).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert places, "a preset is called with what its method is made from"


def test_papers_settings_are_settings_of_the_row_for_a_family_that_there_is():
    published = {(row.name, tasks) for row in METHODS.known() for tasks in row.published}
    assert {("bmaml", "sinusoid"), ("emaml", "sinusoid"), ("maml", "sinusoid"), ("maml", "maml-sinusoid")} < published
    for name, tasks in published:
        method, plan = bmaml.methods.as_published(name, tasks, particles=None)
        assert (method.name, plan) == (name, build_plan(name, tasks, published=True))
        assert build_method(name, tasks, published=True) == method
        tuned = dataclasses.replace(build_plan(name, tasks), steps=plan.steps)
        assert tuned != plan
    assert bmaml.methods.as_published("bmaml", inner_steps=3)[0].learner.steps == 3


def test_few_tasks_are_met_fewer_times_than_would_teach_them_by_heart():
    endless, few = build_plan("experts"), build_plan("experts", tasks=100)
    assert few == dataclasses.replace(endless, steps=1_250)
    assert few.steps * few.batch == 200 * 100  # two hundred passes over all tasks
    assert build_plan("experts", tasks=1_000_000) == endless
    assert build_plan("experts", tasks=1, batch=900).steps == 1
    assert build_plan("experts", tasks=100, steps=3_000).steps == 3_000  # as asked for
    assert build_plan("maml", tasks=100) == build_plan("maml")
    assert build_plan("experts", "gp-rbf", tasks=100).steps == 312
    assert FamilyArena("sinusoid", (5,), 100, 40).plan("experts", None, 0) == few


def test_a_method_without_settings_of_its_paper_is_refused(refused, tmp_path):
    where = ("--settings", "paper", "--out", tmp_path / "run")
    assert "has no settings of its paper for sinusoid: leave" in refused("train", "sinusoid", "--method", "cnp", *where)
    assert "for ambiguous and has some for sinusoid" in refused(
        "leaderboard", "ambiguous", "--methods", "platipus,bmaml", *where
    )
    assert "give tuned or paper, or" in refused("train", "sinusoid", "--settings", "papers", "--out", tmp_path / "run")
    assert "give one of tuned and paper" in refused("train", "sinusoid", "--settings", "paper,tuned", "--out", tmp_path / "run")
    assert "figure maml does not take it, which is for bmaml-1" in refused("figure", "maml", *where)
    only = ("--settings", "paper", "--methods", "experts")
    assert "give --settings tuned, or --methods with bmaml" in refused("figure", "bmaml-1", *only, "--out", tmp_path)


def test_every_row_fits_something():
    assert {*fitting("numbers"), *fitting("classes")} == set(METHODS)
    assert set(fitting("policies")) == set(POLICY_METHODS)


def test_a_learner_and_an_objective_make_a_preset():
    """What has no default is what the method is made from; what has one is a setting."""
    row = bmaml.methods.MethodSpec(
        "heads", bmaml.methods.pair(ConjugateLearner, QueryLoss("points")), bmaml.methods.OfFeatures()
    )
    assert {"particles", "noise"} <= row.settings
    assert row.summary.startswith("Exact Bayesian linear heads")
    made = row.preset(FEATURES, particles=3)
    assert made == bmaml.Method(ConjugateLearner(FEATURES, particles=3), QueryLoss("points"))


def test_the_command_line_cites(capsys):
    assert run("cite", "anil") == 0
    assert capsys.readouterr().out == bmaml.cite("anil")
