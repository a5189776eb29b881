"""Few-shot regression on tables in the manner of scikit-learn: fit on many tasks, adapt to a new one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, ClassVar, overload

import numpy as np
from numpy.typing import ArrayLike

from bmaml.errors import InputError
from bmaml.estimators import stacking
from bmaml.estimators.base import AbstractRowsEstimator, read_from, recalibrated, saved
from bmaml.estimators.description import Learned
from bmaml.estimators.given_tables import array_table, as_fitted, as_rows, measured_rows, named_table, sketches, with_outputs
from bmaml.estimators.learned import learned
from bmaml.estimators.left_out import LeftOut, Names, names_of, read_left_out
from bmaml.estimators.many import ManyAnswers, ManyTasks
from bmaml.estimators.regressor_task import AdaptedTask
from bmaml.estimators.scikit import Kind, explained, row_weights, scored, split_given
from bmaml.estimators.seen import check_unseen
from bmaml.evaluation.recalibrate import LEAST_TASKS, recalibrate
from bmaml.io.checked import AtLeast, Count, NotNegative, Positive, Seed, as_tuple
from bmaml.io.checkpoint import RunFolder
from bmaml.methods import METHODS, Method, Tuned
from bmaml.methods.spec import TABLES
from bmaml.recipes.tables import regression_method
from bmaml.tables import (
    Reading,
    Schema,
    Table,
    TableLike,
    measured,
    read_table,
    some_shots,
    table_tasks,
)
from bmaml.tables.new import new_rows
from bmaml.tables.read import DataFrame
from bmaml.tasks.base import FixedTasks, Selection
from bmaml.tasks.shots import Shots
from bmaml.training.plan import Plan
from bmaml.training.progress import Progress, as_progress
from bmaml.training.run import Run, train


class FewShotRegressor(AbstractRowsEstimator):
    """Learns from many small data sets how to predict a new one from a few of its points, with honest intervals.

    - `method`: `"mixture"` trains candidates from a mixed model to experts on folds of the tasks, and mixes them by how well
      they predict the tasks left out. `"mixed-model"` and `"gaussian-process"` are candidates of it. Or the name of a method
      that is trained by meta-steps (`bmaml.methods.METHODS`), or a `Method` over standardised inputs and outputs.
    - `particles`: particles of a method that has several, and of the experts of the mixture.
    - `shots`: support points in training, one count or several (None: 0 to 10; for a forecast without folds 1 to 10).
    - `queries`: query points in training (None: 20; for a forecast 32).
    - `selection`: `"random"`, or `"first"` for a task's first rows, so that the model learns to forecast.
    - `steps`, `batch`: meta-steps, and tasks of a meta-step (None: those of the method's row, 4,000 and 16 unless it says
      otherwise; 400 steps for a mixture of up to 250 tasks).
    - `learning_rate`, `weight_decay`: those of the outer optimiser (None: those of the method's row).
    - `family`: what the outcome is, a name in `bmaml.likelihoods.FAMILIES`. None takes `"yes-no"` for an outcome of two things,
      `"classes"` for one of three words or more, `"censored"` or `"censored-log"` for one with cells such as <0.1, and else
      `"normal"`. The methods `"mixture"` and `"mixed-model"` fit the other families.
    - `progress`: True prints a line on stderr from time to time; or a `bmaml.training.progress.Progress`.
    """

    KIND: ClassVar[Kind] = "regressor"

    def __init__(
        self,
        method: str | Method = "mixture",
        *,
        particles: Count | None = None,
        steps: Count | None = None,
        shots: Shots | None = None,
        selection: Selection = "random",
        queries: Count | None = None,
        batch: Count | None = None,
        learning_rate: Positive | None = None,
        weight_decay: NotNegative | None = None,
        family: str | None = None,
        seed: Seed = 0,
        progress: bool | Progress = False,
    ):
        self.method, self.particles, self.steps, self.shots = method, particles, steps, shots
        self.selection: Selection = selection
        self.queries, self.batch, self.learning_rate, self.weight_decay = queries, batch, learning_rate, weight_decay
        self.family, self.seed, self.progress = family, seed, progress

    @overload
    def fit(
        self,
        X: TableLike | ArrayLike | None,
        y: ArrayLike,
        *,
        groups: ArrayLike,
        order: str | None = None,
        categorical: Sequence[str] = (),
        log: Sequence[str] = (),
        exposure: str | None = None,
        error: str | None = None,
        weight: str | None = None,
        trials: str | None = None,
        upper: str | None = None,
        levels: Sequence[str] = (),
        reading: Reading | None = None,
        directory: str | Path | None = None,
        overwrite: bool = False,
        notes: dict[str, Any] | None = None,
    ) -> FewShotRegressor: ...

    @overload
    def fit(
        self,
        X: TableLike,
        y: str | Sequence[str],
        *,
        task: str | Sequence[str],
        x: str | Sequence[str] = (),
        order: str | None = None,
        categorical: Sequence[str] = (),
        log: Sequence[str] = (),
        exposure: str | None = None,
        error: str | None = None,
        weight: str | None = None,
        trials: str | None = None,
        upper: str | None = None,
        levels: Sequence[str] = (),
        reading: Reading | None = None,
        directory: str | Path | None = None,
        overwrite: bool = False,
        notes: dict[str, Any] | None = None,
    ) -> FewShotRegressor: ...

    def fit(
        self,
        X,
        y=None,
        *,
        groups=None,
        task=None,
        x=(),
        order=None,
        categorical=(),
        log=(),
        exposure=None,
        error=None,
        weight=None,
        trials=None,
        upper=None,
        levels=(),
        reading=None,
        directory=None,
        overwrite=False,
        notes=None,
    ) -> FewShotRegressor:
        """Meta-train on many tasks; returns self.

        Give either arrays, `fit(X, y, groups=task_of_each_row)`, or a table, `fit(table, task="patient", x=["age"],
        y=["height"])`.

        - `X`: an array of shape (rows, inputs), or a table (a path, a data frame, a mapping of columns). None with `groups` is
          an array without inputs.
        - `y`: targets of shape (rows,) or (rows, outputs), or names of output columns.
        - `groups`: the task of each row of an array.
        - `task`, `x`: names of the task column and the input columns of a table. Several task columns are nested, the outermost
          first. Without an input the model is a random intercept: what a new task's level is, given some of its rows.
        - `order`, `categorical`, `log`: names of columns (see `bmaml.tables.ColumnRoles`). An array has "x0", "x1", ...
        - `exposure`, `error`, `weight`: name of the column with the exposure of counts, with the standard deviation of each
          measurement's own error, or with how many measurements a row is the mean of. A new row needs it, too.
        - `trials`: name of the column with how many trials the successes of a row are of. A new row needs it, too.
        - `upper`: name of the column with the upper end of each outcome. `y` then names the lower ends.
        - `levels`: levels of an ordered outcome, the lowest first, if they are words without an order of their own.
        - `reading`: how cells are read where this is a choice, such as what means missing, or the order of day and month.
        - `directory`: folder to save the run in, with the tasks, so that it can be resumed. `load` reads it.
        - `overwrite`: whether to replace a run that is in that folder.
        - `notes`: JSON that is kept with the run.

        Raises: InputError that names the file, column, line or task that does not fit.
        """
        self.check_settings()
        sides = {"exposure": exposure, "error": error, "weight": weight, "trials": trials, "upper": upper}
        table, roles = named_table(X, y, task, x) if groups is None else array_table(X, y, groups, sides)
        lists: dict[str, Any] = {"categorical": as_tuple(categorical), "log": as_tuple(log), "levels": as_tuple(levels)}
        roles = replace(roles, order=order, selection=self.selection, **lists, **sides)
        roles = stacking.roles_for(self.method, roles, self.family)
        table, schema = measured_rows(read_table(table, reading=reading), roles, assumed=self.family is None)
        tasks = table_tasks(table, schema, shots=self.shots, queries=self.queries, selection=self.selection)
        self.folds_: stacking.Report | None = None
        self._answers: Callable[[Names, Schema], LeftOut] | None = None
        self.notes_, self.seen_ = notes or {}, sketches(tasks)
        self.run_ = self._train(schema, tasks, directory, overwrite)
        self.schema_, self._names = schema, names_of(table, schema, min(tasks.shots))
        return self._with_features(X)

    def _with_features(self, X: object) -> FewShotRegressor:
        """Return self, with how many inputs there are, and the names of those of a table, as scikit-learn asks."""
        self.n_features_in_ = len(self.schema_.given)
        if isinstance(X, Table | DataFrame | Mapping | PathLike | str):
            self.feature_names_in_ = np.array(self.schema_.given, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self

    def predict(self, X: TableLike | ArrayLike, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Return the mean at `X` for tasks of which no row is given (with `return_std` also the standard deviation).

        `adapt` tells the model rows of a task, and what it returns predicts that task.
        Raises: InputError before `fit`, or if a value does not fit.
        """
        return self.adapt().predict(X, return_std)

    def score(
        self,
        X: TableLike | ArrayLike,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        given: Annotated[int, AtLeast(0)] = 3,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the share of the outcome's variance that predictions explain (R squared; for yes or no and classes the Brier
        skill).

        - `X`, `y`: inputs and outcomes, in the form that `fit` takes.
        - `groups`: the task of each row. Then `given` rows of each task are given, and the others are predicted. Without
          groups no row is given.
        - `given`: how many rows of each task are given: random ones, or its first if the model forecasts.
        - `sample_weight`: weight of each row in the share.

        Raises: InputError before `fit`, if a value does not fit, or no task has more than `given` rows.
        """
        fresh, table = self.adapt(), as_rows(X, self.schema_)
        full = with_outputs(table, y, self.schema_)
        target, whole = self.schema_.targets(full), np.asarray(~self.schema_.lacking(full).any(1))
        target, weight = np.where(whole[:, None], target, 0.0), row_weights(sample_weight, len(table)) * whole
        if groups is None:
            return explained(target, fresh.predict(table), weight)
        parts = split_given(full, groups, given, self.selection == "first", self.seed)
        rows, mean = scored(parts, lambda few, rest: self._answer(full, few).predict(table.take(rest)))
        return explained(target[rows], mean, weight[rows])

    def _answer(self, table: Table, rows: np.ndarray) -> AdaptedTask:
        return self.adapt(table.take(rows)) if len(rows) else self.adapt()

    def _train(self, schema: Schema, tasks: FixedTasks, directory: str | Path | None, overwrite: bool) -> Run:
        method = self.method
        if isinstance(method, str) and method in stacking.MIXTURES:
            return self._stack(method, schema, tasks, directory, overwrite)
        if isinstance(method, str):
            method = regression_method(method, schema.width, len(schema.outputs), self.particles)
        kept: dict[str, Any] = {"directory": directory, "overwrite": overwrite, "about": self._about(schema)}
        return train(method, tasks, self.plan(), **kept, progress=self.progress)

    def _stack(self, name: str, schema: Schema, tasks: FixedTasks, directory: str | Path | None, overwrite: bool) -> Run:
        if directory is not None:
            RunFolder(directory).replaced(overwrite)  # The folder is checked before the work begins.
        levelled = any(column.level is not None for column in schema.outputs)
        if self.shots is None and self.selection == "first" and not levelled:
            tasks = tasks.sized(sorted({0, *tasks.shots}), tasks.queries)
        plan = self.plan() if self.steps else replace(self.plan(), steps=stacking.default_steps(len(tasks.rows.mask)))
        run, self.folds_, stacked = stacking.stacked_run(name, tasks, schema, plan, self.particles, as_progress(self.progress))
        self._answers = partial(stacking.answers_of, stacked)
        if directory is not None:
            run.save(directory, self._about(schema), overwrite=overwrite)
            run = replace(run, directory=Path(directory))
        return run

    def left_out(self) -> LeftOut | None:
        """Return what was predicted of tasks that a training did not see, or None if that is not known.

        A mixture knows it as long as it is not saved and loaded, and `bmaml fit` writes it into the model's folder.
        Raises: InputError if the file in the folder is damaged.
        """
        answers = getattr(self, "_answers", None)
        return read_left_out(self.fitted().directory) if answers is None else answers(self._names, self.schema_)

    def facts(self) -> dict[str, object]:
        outputs, inputs = (", ".join(c.name for c in part) for part in (self.schema_.outputs, self.schema_.inputs))
        own = {"predicts": f"{outputs} from {inputs}", "tasks": len(self.seen_)}
        return own | super().facts() | (stacking.shown_score(self.folds_, self.method) if self.folds_ else {})

    @overload
    def recalibrate(
        self, X: TableLike | ArrayLike, y: ArrayLike, *, groups: ArrayLike, shots: Shots | None = None
    ) -> FewShotRegressor: ...

    @overload
    def recalibrate(self, X: TableLike, *, shots: Shots | None = None) -> FewShotRegressor: ...

    def recalibrate(self, X, y=None, *, groups=None, shots=None) -> FewShotRegressor:
        """Widen or narrow the intervals according to errors on further tasks (`bmaml.evaluation.recalibrate`); returns self.

        - `X`, `y`, `groups`: at least 10 tasks, in the form that `fit` takes, that the model was not fitted on.
        - `shots`: numbers of given rows to look at errors after (None: up to five of those in training that have 10 tasks).

        Raises: InputError before `fit`, for fewer tasks or tasks that were fitted on, or if a value or a task does not fit.
        """
        run = self.fitted()
        table = read_table(X) if groups is None else as_fitted(array_table(X, y, groups, {})[0], self.schema_)
        tasks, counts = self.further(table, shots)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `further` says the same.
            # Rows that lack some outcome were fitted on, too.
            whole = self._in_form(table, shots, gaps=True) if self.schema_.partial else tasks
        check_unseen(sketches(whole), self.seen_, "tasks")
        lengths = np.sort(np.asarray(tasks.rows.count).astype(int))[::-1]
        if shots is None and len(lengths) >= LEAST_TASKS:
            counts = some_shots(tasks.shots, int(lengths[LEAST_TASKS - 1])) or counts
        self.run_ = recalibrated(run, recalibrate(run, tasks, shots=counts, queries=tasks.queries))
        return self

    def further(self, table: Table, shots: Shots | None = None) -> tuple[FixedTasks, list[int]]:
        """Return the tasks of `table` in the form of the fitted model, and the numbers of given rows at which to score on them.

        `shots` gives these numbers (None: up to five of the counts in training).
        Raises: InputError if a value or a task does not fit.
        """
        tasks = self._in_form(table, shots)
        return tasks, some_shots(tasks.shots, int(tasks.rows.count.max()))

    def _in_form(self, table: Table, shots: Shots | None, *, gaps: bool = False) -> FixedTasks:
        """Return the tasks of `table` in the form of the fitted model: the rows that have all outcomes (`gaps`: one)."""
        names = [column.name for column in self.schema_.outputs]
        rows = measured(self.schema_.as_read(table), names, partial=gaps)
        wanted = self.shots if shots is None else shots
        return table_tasks(rows, self.schema_, shots=wanted, selection=self.selection, training=False)

    def plan(self) -> Plan:
        name = "experts" if self.method in stacking.MIXTURES else self.method  # Of a mixture, experts alone take meta-steps.
        tuned = METHODS.find(name).tables if isinstance(name, str) else Tuned(plan=TABLES)
        plan = tuned.trained(steps=self.steps, batch=self.batch, learning_rate=self.learning_rate, seed=self.seed)
        if self.weight_decay is None:
            return plan
        outer: Any = plan.outer
        return replace(plan, outer=replace(outer, weight_decay=self.weight_decay))

    def describe(self) -> Learned:
        """Return what was learned: how tasks are alike, how they differ, how rows scatter, and what each input does.

        Its `lines()` are the text that `bmaml describe` prints.
        Raises: InputError before `fit`.
        """
        return learned(self.adapt(), len(self.seen_))

    def adapt(self, X_few: TableLike | ArrayLike | None = None, y_few: ArrayLike | None = None) -> AdaptedTask:
        """Return a new object: the model adapted to a new task. Without points it is what the model expects of any task.

        - `X_few`: shape (points, inputs), or a table with the input columns.
        - `y_few`: shape (points,) or (points, outputs); not needed if the table has the output columns.

        Raises: InputError before `fit`, or if a value does not fit.
        """
        if X_few is None and y_few is not None and self.fitted() and not self.schema_.given:
            X_few = np.zeros((len(np.atleast_1d(np.asanyarray(y_few))), 0))
        if X_few is None and y_few is not None:
            raise InputError("y_few has targets and X_few is missing: give the inputs of the same points.")
        prior = AdaptedTask.prior(self.fitted(), self.schema_, self.seed)
        return prior if X_few is None else prior.observe(X_few, y_few)

    def adapt_many(
        self, X: TableLike, *, at: TableLike | None = None, level: float = 0.9, checked: Annotated[int, AtLeast(0)] = 0
    ) -> Iterator[ManyAnswers]:
        """Yield the answers for all tasks of a table, a batch at a time, each task adapted to its own measured rows.

        - `X`: rows of new tasks, of which those with an empty outcome are answered; with `at` its rows are instead, for every
          task or the task that a row names.
        - `level`: share of the next measurements that an interval should hold.
        - `checked`: of how many tasks `surprise` is found out. It costs up to 16 adaptations a task.

        Memory does not grow with the number of tasks. The numbers are those of `adapt`, to rounding.
        Raises: InputError before `fit`, or if a value does not fit.
        """
        many = ManyTasks(self.fitted(), self.schema_, level, self.seed, checked)
        return many.answers(new_rows(read_table(X), self.schema_, None if at is None else read_table(at)))

    def about(self) -> dict[str, Any]:
        return self._about(self.schema_)

    def _about(self, schema: Schema) -> dict[str, Any]:
        return self.described() | {"schema": schema.to_json(), "folds": self.folds_, "notes": self.notes_, "seen": self.seen_}

    @classmethod
    def load(cls, path: str | Path, *, method: Method | None = None) -> FewShotRegressor:
        """Return the saved model at `path`, ready to adapt.

        `method` is needed only for a model that was fitted with a `Method` of Python code, which the file does not hold.
        Raises: InputError if the folder holds no saved model or a damaged one.
        """
        with read_from(path):
            about, params, run = saved(path, cls.__name__, "table model", method)
            model = cls(**params)
            model.run_, model.schema_ = run, Schema.from_json(about["schema"])
            model.folds_, model.notes_ = about.get("folds"), dict(about.get("notes", {}))
            model.seen_ = list(about.get("seen", ()))
        return model
