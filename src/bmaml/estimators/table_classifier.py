"""Few-shot classification of the rows of tables in the manner of scikit-learn: an outcome of two things or more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from bmaml.errors import InputError
from bmaml.estimators.base import AbstractRowsEstimator
from bmaml.estimators.given_tables import as_rows
from bmaml.estimators.regressor import FewShotRegressor
from bmaml.estimators.regressor_task import AdaptedTask
from bmaml.estimators.scikit import Kind, row_weights, scored, split_given
from bmaml.estimators.suggestions import By
from bmaml.io.checked import AtLeast, Count, Seed
from bmaml.tables import TableLike, read_table
from bmaml.tables.table import listed
from bmaml.tasks.base import Selection
from bmaml.tasks.shots import Shots
from bmaml.training.plan import Plan
from bmaml.training.progress import Progress


@dataclass(frozen=True)
class AdaptedLabels:
    """A fitted model of rows with labels, after it has seen some rows of one task. The object is immutable.

    `X` is an array of shape (rows, inputs), or a table with the input columns.

    - `task`: the model of the probabilities.
    - `classes_`: the labels, sorted.
    - `places`: the number that `task` gives to each class.
    """

    task: AdaptedTask
    classes_: np.ndarray
    places: tuple[int, ...]

    def observe(self, X: TableLike | ArrayLike, y: ArrayLike) -> AdaptedLabels:
        """Return a new object that has also seen the rows `X` with labels `y`.

        Raises: InputError if a value does not fit, or a label is none of the classes.
        """
        return AdaptedLabels(self.task.observe(X, y), self.classes_, self.places)

    def _of_two(self, yes: np.ndarray) -> np.ndarray:
        """Return the probabilities of both classes, in the order of `task`, if `yes` is that of one of two."""
        return np.stack([1 - yes, yes], 1) if yes.ndim == 1 else yes

    def predict_proba(self, X: TableLike | ArrayLike) -> np.ndarray:
        """Return the probability of each class of `classes_` for each row of `X`, of shape (rows, classes)."""
        return self._of_two(np.asarray(self.task.predict(X)))[:, self.places]

    def predict(self, X: TableLike | ArrayLike) -> np.ndarray:
        """Return the likeliest label of each row of `X`."""
        return self.classes_[self.predict_proba(X).argmax(1)]

    def interval(self, X: TableLike | ArrayLike, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Return the interval (low, high) of the probability of the second of two classes at each row of `X`, or of each of
        several classes, of shape (rows, classes): what is not known of the task.

        Raises: InputError if `level` is not a probability strictly between 0 and 1.
        """
        low, high = self.task.interval(X, level)
        if low.ndim > 1:
            return low[:, self.places], high[:, self.places]
        return (1 - high, 1 - low) if self.places[0] else (low, high)

    def suggest(self, X_pool: TableLike | ArrayLike, n: Count = 1, by: By | None = None) -> np.ndarray:
        """Return the indices of the `n` rows of the pool `X_pool` that are most worth labelling next, the best first.

        `by` is as in `AdaptedTask.suggest`, whose other arguments `task.suggest` takes.
        Raises: InputError for more rows than the pool has or an unknown `by`.
        """
        return self.task.suggest(X_pool, n, by)


class FewShotTableClassifier(AbstractRowsEstimator):
    """Learns from many small tables with a label in each row how to tell the labels of a new one, from a few of its rows.

    The classes are 2 to 20 labels, and the same for all tasks. It is a `FewShotRegressor` of the family `"yes-no"`, or
    `"classes"` for three and more (`regressor_`), which the command line and `FewShotRegressor.load` take, too.

    - `method`: `"mixture"` or `"mixed-model"`.
    - `shots`, `selection`, `queries`, `progress`: as for `FewShotRegressor`.
    """

    KIND: ClassVar[Kind] = "classifier"

    def __init__(
        self,
        method: str = "mixture",
        *,
        shots: Shots | None = None,
        selection: Selection = "random",
        queries: Count | None = None,
        seed: Seed = 0,
        progress: bool | Progress = False,
    ):
        self.method, self.shots, self.queries, self.seed, self.progress = method, shots, queries, seed, progress
        self.selection: Selection = selection

    def _model(self) -> FewShotRegressor:
        several = len(getattr(self, "classes_", ())) > 2
        return FewShotRegressor(**self.get_params(), family="classes" if several else "yes-no")

    def fit(
        self,
        X: TableLike | ArrayLike,
        y: ArrayLike | str,
        *,
        groups: ArrayLike | None = None,
        task: str | Sequence[str] | None = None,
        x: str | Sequence[str] = (),
        **options: Any,
    ) -> FewShotTableClassifier:
        """Learn from many tasks; returns self.

        - `X`: an array of shape (rows, inputs), or a table.
        - `y`: the label of each row, or with a table the name of its column.
        - `groups`: the task of each row of an array.
        - `task`, `x`: names of a table's task column and input columns.
        - `options`: further arguments of `FewShotRegressor.fit`.

        Raises: InputError for fewer than two labels, or in the cases of `FewShotRegressor.fit`.
        """
        self.check_settings()
        if groups is None and task is not None:
            assert isinstance(y, str)
            column = read_table(X).coded(y, missing=True)[1]  # type: ignore[arg-type]
            self.classes_ = np.array(sorted(column), dtype=object)
        else:
            labels = np.asarray(y)
            self.classes_ = np.unique(labels)
        if len(self.classes_) < 2:
            raise InputError(
                f"every row has the label {listed(self.classes_.tolist(), 6)}, and a classifier tells labels apart: give rows "
                "of two labels or more."
            )
        model: Any = self._model()
        kept = {} if groups is None else {"groups": groups}
        model.fit(X, y, **kept, **({} if task is None else {"task": task, "x": x}), **options)
        return self._take(model)

    def _take(self, model: FewShotRegressor) -> FewShotTableClassifier:
        self.regressor_, self.run_, self.n_features_in_ = model, model.run_, len(model.schema_.given)
        (outcome,) = model.schema_.outputs
        coded = outcome.raw(model.schema_.as_read(read_table({outcome.name: self.classes_})))
        self._places = tuple(coded.astype(int).tolist())
        return self

    def adapt(self, X_few: TableLike | ArrayLike | None = None, y_few: ArrayLike | None = None) -> AdaptedLabels:
        """Return a new object: the model adapted to a new task by the rows `X_few` with labels `y_few`. Without rows it is what
        the model expects of any task.

        Raises: InputError before `fit`, or if a value does not fit.
        """
        self.fitted()
        return AdaptedLabels(self.regressor_.adapt(X_few, y_few), self.classes_, self._places)

    def predict_proba(self, X: TableLike | ArrayLike) -> np.ndarray:
        """Return the probability of each class for each row of `X`, for tasks of which no row is given."""
        return self.adapt().predict_proba(X)

    def predict(self, X: TableLike | ArrayLike) -> np.ndarray:
        """Return the likeliest label of each row of `X`, for tasks of which no row is given."""
        return self.adapt().predict(X)

    def score(
        self,
        X: TableLike | ArrayLike,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        given: Annotated[int, AtLeast(0)] = 3,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the share of the rows of `X` whose label in `y` is predicted. `groups`, `given` and `sample_weight` are as in
        `FewShotRegressor.score`.

        Raises: InputError before `fit`, if a value does not fit, or no task has more than `given` rows.
        """
        self.fitted()
        labels, table = np.asarray(y), as_rows(X, self.regressor_.schema_)
        weight = row_weights(sample_weight, len(table))
        if groups is None:
            return float(np.average(self.predict(table) == labels, weights=weight))
        parts = split_given(table, groups, given, self.selection == "first", self.seed)

        def answer(few: np.ndarray, rest: np.ndarray) -> np.ndarray:
            task = self.adapt(table.take(few), labels[few]) if len(few) else self.adapt()
            return task.predict(table.take(rest))

        rows, found = scored(parts, answer)
        return float(np.average(labels[rows] == found, weights=weight[rows]))

    def recalibrate(
        self,
        X: TableLike | ArrayLike,
        y: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        shots: Shots | None = None,
    ) -> FewShotTableClassifier:
        """Make probabilities as sure as they are right, according to errors on further tasks; returns self.

        `X`, `y`, `groups` and `shots` are as in `FewShotRegressor.recalibrate`, with labels as outcomes.
        Raises: InputError before `fit`, for fewer than 10 tasks or tasks that were fitted on, or if a value does not fit.
        """
        self.fitted()
        kept: Any = {} if groups is None else {"y": y, "groups": groups}
        self.run_ = self.regressor_.recalibrate(X, shots=shots, **kept).run_
        return self

    def plan(self) -> Plan:
        return self._model().plan()

    def about(self) -> dict[str, Any]:
        return self.regressor_.about()

    def save(self, path: str | Path) -> None:
        self.fitted()
        self.regressor_.notes_ = self.regressor_.notes_ | {"classes": self.classes_.tolist()}
        self.regressor_.save(path)

    @classmethod
    def load(cls, path: str | Path) -> FewShotTableClassifier:
        """Return the saved model at `path`, ready to adapt.

        Raises: InputError if the folder holds no saved model of labels, or a damaged one.
        """
        model = FewShotRegressor.load(path)
        classes = model.notes_.get("classes")
        if not isinstance(classes, list) or len(classes) < 2:
            raise InputError(f"{path} is no fitted classifier of rows: use FewShotRegressor.load.")
        own = {name: value for name, value in model.get_params().items() if name in cls().get_params()}
        loaded = cls(**own)
        loaded.classes_ = np.array(classes, dtype=None if all(type(c) is type(classes[0]) for c in classes) else object)
        return loaded._take(model)
