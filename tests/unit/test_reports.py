"""Reports on models: valid pages that hold all they show, and names that stay names."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import html5lib
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bmaml
from bmaml.cli import main
from bmaml.estimators.description import Learned
from bmaml.estimators.scores import Estimate, Score
from bmaml.learners.hierarchical import Basis, HierarchicalLearner
from bmaml.objectives import QueryLoss
from bmaml.reports import report, write_report
from bmaml.reports.of_tables import Judged, _in_short, _learned, report_of_table
from bmaml.reports.write import as_html, as_json, as_markdown
from bmaml.tables import Column, Schema

RUNS = Path(__file__).parent.parent / "fixtures" / "runs"
BAD = "<script>alert('a')</script> $\\frac$ | *b* &amp; \"c\""


def strict(page):
    """The tree of a page, which has to be valid HTML."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)


def addresses(tree):
    """Everything that a browser might ask for to show a page."""
    return [value for node in tree.iter() for name, value in node.attrib.items() if name in ("src", "href", "srcset", "data")]


def example(task, rank):
    one = {"task": task, "rank": rank, "given_x": [1.0], "given_y": [[1.0]], "x": [2.0, 3.0], "y": [[1.0], [9.0]]}
    return one | {"mean": [[1.0], [2.0]], "low": [[0.0], [1.0]], "high": [[2.0], [3.0]]}


def record(output, tasks):
    """What was predicted of tasks that were left out."""
    held = [[(level, level - 0.05, min(level + 0.05, 1.0)) for level in (0.5, 0.9)]] * 2
    numbers = [[float(i) for i in range(len(tasks))], [None, *(float(i) for i in range(1, len(tasks)))]]
    parts = {"nll": numbers, "rmse": {output: numbers}, "covered": {output: [[0.9] * len(tasks)] * 2}}
    parts |= {"levels": [0.5, 0.9], "held": {output: held}, "pit": {output: [[0.1] * 10] * 2}}
    shown = [example(task, i + 1) for i, task in enumerate(tasks)]
    return {"tasks": tasks, "given": [0, 2], "axis": "x", "shown_after": 2, "examples": shown} | parts


def test_a_name_never_becomes_markup_and_the_page_is_valid_and_asks_for_nothing():
    model = bmaml.FewShotRegressor.load(RUNS / "regressor")
    schema = model.schema_
    inputs = tuple(dataclasses.replace(column, name=f"{column.name}{BAD}", note=BAD) for column in schema.inputs)
    model.schema_ = dataclasses.replace(
        schema, task=BAD, inputs=inputs, outputs=(dataclasses.replace(schema.outputs[0], name=BAD),)
    )
    model.notes_ = {"command": f"bmaml fit '{BAD}'"}
    value = Estimate(1.0, 0.5, 1.5)
    narrow = Score(2, "model", 5, 5, {BAD: value}, value, {BAD: Estimate(0.7, 0.6, 0.8)})
    plain = dataclasses.replace(narrow, method="mean of the given rows", nll=Estimate(0.9, 0.8, 1.0))
    found = report_of_table(model, Judged([narrow, plain], record(BAD, ["a", BAD, "c"]), "5 tasks"))
    page = as_html(found)
    tree = strict(page)
    assert not list(tree.iter("script"))
    assert BAD in "".join(tree.itertext())
    assert len(addresses(tree)) >= 4
    assert all(address.startswith("data:image/svg+xml;base64,") for address in addresses(tree))
    assert not re.search(r"https?://|@import|url\(", re.sub(r"<pre>.*?</pre>", "", page, flags=re.DOTALL))
    assert [line for line in found.warnings if "held 70%" in line]
    assert [line for line in found.warnings if "a plain guess predicts as well" in line]
    text = as_markdown(found)
    assert "<script>" not in re.sub(r"^    .*$", "", text, flags=re.MULTILINE)  # Code is shown as it is.
    grids = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) - 1 for line in grids} == {
        len(g.header) for s in found.sections for g in s.tables
    }
    assert json.loads(as_json(found))["left_out"]["tasks"][1] == BAD


def test_a_model_without_inputs_has_a_report_without_curves():
    model = bmaml.FewShotRegressor.load(RUNS / "regressor")
    model.schema_ = dataclasses.replace(model.schema_, inputs=())
    first, *_ = _in_short(model, Judged([], None, ""))
    name = model.schema_.outputs[0].name
    assert f" tasks how {name} varies within a task and from task to task. " in first
    shares = {"inputs": 0.0, "level": 0.7, "shape": 0.0, "noise": 0.3}
    parts: Any = shares | {"mean": 1.0, "deviations": shares}
    (picture,) = _learned(model, Learned(9, "normal", {name: parts}, [], [], {})).pictures
    assert picture.caption == "The variance of each outcome in parts."


def test_a_run_of_a_family_is_scored_and_drawn(tmp_path):
    run = bmaml.load(RUNS / "maml")
    found = report(run)
    assert {"How the model was made", "Papers behind the method"} <= {section.title for section in found.sections}
    write_report(found, tmp_path / "run.html")
    strict((tmp_path / "run.html").read_text())


@pytest.mark.parametrize("name", ["classifier", "policy"])
def test_other_models_have_a_report_that_says_what_it_lacks(name, tmp_path):
    path = tmp_path / "report.md"
    with pytest.raises(SystemExit) as stop:
        main(["report", str(RUNS / name), "--out", str(path)])
    assert stop.value.code == 0
    assert "nothing here says how right" in path.read_text()


def test_the_kind_of_file_is_checked_before_the_work(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["report", str(RUNS / "maml"), "--out", "report.pdf"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "bmaml: report.pdf ends in '.pdf': give a name that ends in .html, .md, .json.\n"


def test_the_parts_of_the_variance_are_those_of_the_truth():
    """A model whose scales are known: a task deviates by a constant and by a line, each with the deviation exp(-1)."""
    learner = HierarchicalLearner(Basis(("curve",)), 1, "lines")
    fresh = jax.jit(learner.init)(jax.random.key(0))
    meta = dataclasses.replace(fresh, root=jnp.zeros_like(fresh.root), mean=fresh.mean.at[..., 1].set(0.5))
    model = bmaml.FewShotRegressor()
    model.seen_ = ["a"]
    model.run_ = bmaml.Run(bmaml.Method(learner, QueryLoss("points")), meta, bmaml.Plan(), 0, 0)
    model.schema_ = Schema("task", (Column("x", low=-2.0, high=2.0),), (Column("y", mean=10.0, scale=3.0),), None)
    found = model.describe()
    off, unit = found.variance["y"]["deviations"], 3 * np.exp(-1)
    wide = 4 / 12**0.5  # the deviation of an input between -2 and 2
    assert off == pytest.approx({"inputs": 3 * 0.5 * wide, "level": unit, "shape": unit * wide, "noise": unit}, rel=0.12)
    (curve,) = found.curves
    at = {x: i for i, x in enumerate(curve["x"])}
    assert curve["centre"][at[2.0]] - curve["centre"][at[-2.0]] == pytest.approx(3 * 0.5 * 4, rel=0.2)
    assert curve["high"][at[0.0]] - curve["low"][at[0.0]] == pytest.approx(2 * 1.645 * unit, rel=0.15)
