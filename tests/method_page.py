"""The table of methods in the docs and in the README, made from the rows; `python tests/method_page.py` writes both."""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cases import preset

from bmaml.learners import AbstractLearner
from bmaml.methods import METHODS, POLICY_METHODS
from bmaml.methods.citations import link, papers_of
from bmaml.models import MLP, GaussianPolicy

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "methods.md"
BEGIN, END = "<!-- methods: written by tests/method_page.py -->\n", "<!-- end of methods -->\n"
HEAD = """# Methods

Each method is a row of the table in `bmaml.methods`. The row says how to build the method, what the method predicts, which
settings serve which tasks, and which papers to cite. `bmaml.cite("NAME")` returns BibTeX. `python tests/method_page.py` writes
this page, and a test checks that the page is up to date.

A method is a pair of a learner and an objective. Every other pair that fits is a method, too: see [design.md](design.md).
"""
POLICY = GaussianPolicy(MLP((2, 3, 1)), 1)


def page():
    """Return docs/methods.md."""
    points = [row(spec, preset(spec.name)) for spec in METHODS.known()]
    policies = [row(spec, spec.preset(POLICY)) for spec in POLICY_METHODS.known()]
    parts = [HEAD, "## Tasks whose points are given", table(points), "## Policies", table(policies)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def table(rows):
    """Return rows as Markdown."""
    head = ["name", "what it is", "predicts", "learner", "objective", "papers"]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def row(spec, method):
    """Return the cells of a method's row."""
    papers = ", ".join(f"[{key}]({link(entry)})" for key, entry in papers_of(spec).items())
    cells = [f"`{nested(method.learner)}`", f"`{said(method.objective)}`", papers]
    return [f"`{spec.name}`", spec.summary, " and ".join(spec.fits), *cells]


def said(objective):
    """Return an objective's class with the settings that are not its defaults."""
    chosen = {field.name: getattr(objective, field.name) for field in dataclasses.fields(objective)}
    defaults = {field.name: field.default for field in dataclasses.fields(objective)}
    changed = [f"{name}={value!r}" for name, value in chosen.items() if value != defaults[name]]
    return f"{type(objective).__name__}({', '.join(changed)})"


def nested(learner):
    """Return a learner's class, and those of the learners that it holds."""
    inner = [nested(value) for value in vars(learner).values() if isinstance(value, AbstractLearner)]
    return type(learner).__name__ + (f"({', '.join(inner)})" if inner else "")


def readme():
    """Return the README with its list of methods by group."""
    text = (ROOT / "README.md").read_text()
    before, rest = text.split(BEGIN)
    groups = {}
    for spec in METHODS.known():
        groups.setdefault(spec.group.label, []).append(f"`{spec.name}`")
    lines = [f"| {label} | {', '.join(names)} |" for label, names in groups.items()]
    return "\n".join([before + BEGIN + "| kind | methods |", "|---|---|", *lines]) + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page())
    (ROOT / "README.md").write_text(readme())
