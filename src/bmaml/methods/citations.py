"""BibTeX of the papers behind a method or a run."""

from __future__ import annotations

import functools
import re
from importlib.resources import files

from bmaml.errors import InputError, said
from bmaml.methods.base import Method
from bmaml.methods.rows import METHODS, POLICY_METHODS
from bmaml.methods.spec import MethodSpec
from bmaml.rows import pick
from bmaml.training.method import AbstractMethod
from bmaml.training.run import Run


@functools.cache
def papers() -> dict[str, str]:
    """Return the BibTeX entries of all papers behind the library's methods, by their keys."""
    return _entries(files("bmaml.methods").joinpath("papers.bib").read_text("utf-8"))


def _entries(text: str) -> dict[str, str]:
    found = re.split(r"(?m)^(?=@)", text)
    return {entry.split("{")[1].split(",")[0].strip(): entry.strip() for entry in found if entry.startswith("@")}


def papers_of(row: MethodSpec) -> dict[str, str]:
    """Return the BibTeX entries of the papers of a method's `row`, by their keys.

    Raises: InputError if the row names a paper without an entry.
    """
    known = papers() | _entries(row.bibtex)
    return {key: pick("paper", key, known) for key in row.papers}


def link(entry: str) -> str:
    """Return the address of the paper that the BibTeX `entry` describes, or "" if the entry has none."""
    found = re.search(r"url\s*=\s*\{(.*?)\}", entry)
    return found.group(1) if found else ""


def cite(method: str | AbstractMethod | Run) -> str:
    """Return BibTeX for the papers behind a method, to be printed or written to a file.

    - `method`: a method's name, a method, or a run.

    Raises: InputError for an unknown name, for a pair of a learner and an objective that is no named method, or for a method
    that names no paper.

    >>> cite("maml").splitlines()[:2]  # doctest: +ELLIPSIS
    ['@inproceedings{finn2017,', '  title = {Model-Agnostic Meta-Learning ...
    """
    found = method.method if isinstance(method, Run) else method
    if not isinstance(found, str | AbstractMethod):
        raise InputError(f"what to cite is {said(found)}: give the name of a method, such as 'bmaml', a method, or a run.")
    name = found if isinstance(found, str) else found.name
    if name is None:
        raise InputError(
            "this pair of a learner and an objective is no named method: give the name of a method, such as cite('bmaml')."
        )
    points, policies = METHODS, POLICY_METHODS
    tables = (points, policies) if isinstance(found, str) else (points,) if isinstance(found, Method) else (policies,)
    rows = [table[name] for table in tables if name in table]
    if not rows:
        pick("method", name, {known: known for known in [*METHODS, *POLICY_METHODS]})
    entries = {key: entry for row in rows for key, entry in papers_of(row).items()}
    if not entries:
        raise InputError(f"the method {name!r} names no paper: give papers and bibtex in its row.")
    return "\n\n".join(entries.values()) + "\n"
