"""What a page explores: a saved model, whose inputs and outcome have axes, and which adapts to the points that a user gives."""

from __future__ import annotations

import dataclasses
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from bmaml.data import Data, data
from bmaml.errors import InputError
from bmaml.estimators.regressor import FewShotRegressor
from bmaml.estimators.regressor_task import AdaptedTask
from bmaml.explore.axes import Axis, input_axis, numbers_axis, outcome_axis
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.learners.base import AbstractIterativeLearner, AbstractLearner, Meta
from bmaml.learners.wrappers import core, replace_core
from bmaml.likelihoods import NORMAL
from bmaml.methods import Method
from bmaml.tables import read_table
from bmaml.tasks.base import AbstractTasks
from bmaml.training.run import Run, about, load, source

# How many tasks are drawn to see where their points lie.
_LOOKED_AT = 256
_LEAST_STEPS = 10


class Bands(NamedTuple):
    """Ends of central intervals at some rows, in the outcome's units, each of shape (rows,).

    - `low90`, `high90`: ends of the 90% interval.
    - `low50`, `high50`: ends of the 50% interval.
    """

    low90: np.ndarray
    low50: np.ndarray
    high50: np.ndarray
    high90: np.ndarray


class AbstractAdapted(ABC):
    """A model after it has seen the points. Rows `x` have shape (rows, inputs), in the units of the axes."""

    @property
    @abstractmethod
    def posterior(self) -> AbstractPosterior:
        """The posterior, over the model's own inputs and outputs."""

    @abstractmethod
    def moments(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation at rows `x`, by the call that a program would make."""

    @abstractmethod
    def bands(self, x: np.ndarray) -> Bands:
        """Return the intervals at rows `x`, by the calls that a program would make."""

    @property
    @abstractmethod
    def quick(self) -> bool:
        """Whether the quantiles of the posterior's predictive, once decoded, are those of the outcome."""

    @abstractmethod
    def encoded(self, x: np.ndarray) -> Array:
        """Return rows `x` as the model's own inputs."""

    @abstractmethod
    def decoded(self, values: np.ndarray) -> np.ndarray:
        """Return values of the model's own output, of shape (..., 1), in the outcome's units, without the last axis."""


class AbstractSubject(ABC):
    """A saved model that can be explored.

    - `title`: what the page calls the model.
    - `run`: the run behind it.
    - `inputs`, `outcome`: its axes.
    """

    title: str
    run: Run[Data, AbstractPosterior]
    inputs: tuple[Axis, ...]
    outcome: Axis

    @abstractmethod
    def adapted(self, x: np.ndarray, y: np.ndarray, steps: int | None = None) -> AbstractAdapted:
        """Return the model adapted to points.

        - `x`: shape (points, inputs), in the units of the axes.
        - `y`: shape (points,), in the outcome's units.
        - `steps`: number of inner steps (None: the model's own).

        Raises: InputError if the model cannot adapt to the points.
        """

    @property
    def steps(self) -> int | None:
        """How many inner steps the model takes, None if it takes none."""
        learner = core(_method(self.run).answerer)
        return learner.steps if isinstance(learner, AbstractIterativeLearner) else None

    @property
    def most_steps(self) -> int:
        """The most inner steps that the page offers."""
        return max(_LEAST_STEPS, 2 * (self.steps or 0))

    @property
    def members(self) -> list[str]:
        """Names of the parts that a mixture of a table's model is made of, in order; empty for other models."""
        return []

    @property
    def drawn(self) -> tuple[Axis, ...]:
        """The inputs that are drawn as axes: the numbers."""
        return tuple(axis for axis in self.inputs if not axis.levels)


class SteppedLearner(AbstractLearner):
    """A learner that takes a number of inner steps which is known only when its program runs.

    So one program serves a slider. Noise in the steps (Langevin) comes from other keys than those of `inner` itself.

    - `inner`: the learner.
    - `steps`: the number of steps.
    """

    inner: AbstractIterativeLearner
    steps: Int[Array, ""]

    def init(self, key: PRNGKeyArray) -> Meta:
        return self.inner.init(key)

    def adapt(self, meta: Meta, support: Data, *, key: PRNGKeyArray) -> AbstractPosterior:
        start_key, step_key, end_key = jax.random.split(key, 3)

        def step(i, state):
            return self.inner.advance(meta, state, support, 1, key=jax.random.fold_in(step_key, i))

        state = jax.lax.fori_loop(0, self.steps, step, self.inner.start(meta, support, key=start_key))
        return self.inner.finish(meta, state, support, key=end_key)


def stepped(run: Run[Data, AbstractPosterior], steps: int | None) -> Run[Data, AbstractPosterior]:
    """Return `run` with a learner that takes `steps` inner steps (None: the run itself)."""
    method = _method(run)
    learner = core(method.answerer)
    if steps is None or not isinstance(learner, AbstractIterativeLearner) or steps == learner.steps:
        return run
    other = replace_core(method.answerer, lambda _: SteppedLearner(learner, jnp.asarray(steps, jnp.int32)))
    return dataclasses.replace(run, method=dataclasses.replace(method, answering=other))


def _method(run: Run) -> Method:
    assert isinstance(run.method, Method)
    return run.method


def open_subject(folder: Path, title: str | None = None) -> AbstractSubject:
    """Return the saved model in `folder`, which `bmaml fit` or `bmaml train` wrote. The page calls it `title` (None: its name).

    Raises: InputError if there is none, or one that cannot be drawn: of classes, of policies, of several outcomes, or of more
    than two inputs.
    """
    kind = about(folder).get("kind")
    if kind == "FewShotClassifier":
        raise InputError(f"{folder} is a classifier of images: give a model of one outcome and one or two inputs.")
    if kind == "FewShotRegressor":
        return TableSubject(FewShotRegressor.load(folder), title or folder.resolve().name)
    return RunSubject(load(folder), source(folder), title or folder.resolve().name)


def _check_finished(run: Run, name: str) -> None:
    if not run.finished:
        raise InputError(f"{name} stopped at meta-step {run.step} of {run.steps}: finish it with bmaml resume.")


def _check_inputs(name: str, inputs: int, outputs: int) -> None:
    if outputs != 1 or inputs not in (1, 2):
        raise InputError(
            f"{name} has {inputs} inputs and {outputs} outcomes: explore draws models of one or two inputs and one outcome."
        )


class RunSubject(AbstractSubject):
    """A run of `bmaml train` on tasks of numbers: its axes show where points of the tasks lie."""

    def __init__(self, run: Run, tasks: object, title: str):
        """`run` was trained on `tasks`, and the page calls it `title`.

        Raises: InputError if the run is not of numbers with one or two inputs and one output, or its tasks are not known.
        """
        if not isinstance(run.method, Method):
            raise InputError(f"{title} is a run of policies: give a model of one outcome and one or two inputs.")
        if not isinstance(tasks, AbstractTasks):
            raise InputError(
                f"{title} was saved without the tasks that it was trained on: train it into a folder, and give that."
            )
        _check_finished(run, title)
        points = jax.vmap(lambda key: tasks.sample(key).query)(jax.random.split(jax.random.key(0), _LOOKED_AT))
        if points.y.ndim < 3:
            raise InputError(f"{title} tells classes apart: give a model of one outcome and one or two inputs.")
        _check_inputs(title, points.x.shape[-1], points.y.shape[-1])
        real = np.asarray(points.mask) > 0
        x, y = np.asarray(points.x)[real], np.asarray(points.y)[real]
        names = ("x",) if x.shape[1] == 1 else ("x1", "x2")
        self.title, self.run = title, run
        self.inputs = tuple(Axis(n, float(c.min()), float(c.max())) for n, c in zip(names, x.T, strict=True))
        self.outcome = numbers_axis("y", *(float(end) for end in np.quantile(y, [0.005, 0.995])))

    def adapted(self, x: np.ndarray, y: np.ndarray, steps: int | None = None) -> AbstractAdapted:
        width = len(self.inputs)
        given = data(np.reshape(x, (-1, width)), np.reshape(y, (-1, 1)).astype(float))
        return AdaptedRun(stepped(self.run, steps).adapt(given))


def _rows(x: np.ndarray) -> Array:
    return jnp.asarray(x, jnp.zeros(()).dtype)


class AdaptedRun(AbstractAdapted):
    """A run adapted to a task (`posterior`)."""

    def __init__(self, posterior: AbstractPosterior):
        self._posterior = posterior

    @property
    def posterior(self):
        return self._posterior

    @property
    def quick(self):
        return True

    def moments(self, x):
        predictive = self.posterior.predict(_rows(x))
        mean, std = (np.asarray(part, np.float64)[:, 0] for part in (predictive.mean, predictive.std))
        return mean, std

    def bands(self, x):
        predictive: Any = self.posterior.predict(_rows(x))
        ends = _ends(*(predictive.interval(level) for level in (0.9, 0.5)))
        return Bands(*(np.asarray(part, np.float64)[:, 0] for part in ends))

    def encoded(self, x):
        return _rows(x)

    def decoded(self, values):
        return np.asarray(values, np.float64)[..., 0]


class TableSubject(AbstractSubject):
    """A model that was fitted on a table: its axes are columns, in their units."""

    def __init__(self, model: FewShotRegressor, title: str):
        """`model` is fitted, and the page calls it `title`.

        Raises: InputError if it has several outcomes, a side input, or other than one or two inputs of which one is a number.
        """
        schema = model.schema_
        _check_finished(model.run_, title)
        _check_inputs(title, len(schema.given), len(schema.outputs))
        if schema.side is not None and schema.side.name in schema.given:
            raise InputError(
                f"{title} needs the {schema.side_name} of a row ({schema.side.name!r}): explore draws models without one."
            )
        if schema.outputs[0].form in ("ordered", "class"):
            what = "levels in order" if schema.outputs[0].form == "ordered" else "classes"
            raise InputError(f"{title} predicts {what}: explore draws numbers, counts, and yes or no, so use predict.")
        self.title, self.run, self.model = title, model.run_, model
        self._priors: dict[int | None, AdaptedTask] = {}
        self.inputs = tuple(input_axis(column) for column in schema.inputs)
        if not self.drawn:
            raise InputError(f"the inputs of {title} are categories: explore needs an input that is a number or a date.")
        column = schema.outputs[0]
        self.outcome = outcome_axis(column, 0.0, 1.0)
        middle = self.adapted(np.zeros((0, len(self.inputs))), np.zeros(0)).bands(self._across())
        self.outcome = outcome_axis(column, float(middle.low90.min()), float(middle.high90.max()))

    @property
    def members(self):
        return [] if self.model.folds_ is None else list(self.model.folds_["candidates"])

    def _across(self) -> np.ndarray:
        return np.stack([axis.grid(8) if not axis.levels else np.zeros(8) for axis in self.inputs], 1)

    def adapted(self, x: np.ndarray, y: np.ndarray, steps: int | None = None) -> AbstractAdapted:
        with quiet():
            if steps not in self._priors:
                self._priors[steps] = AdaptedTask.prior(stepped(self.run, steps), self.model.schema_, self.model.seed)
            task = self._priors[steps]
            if len(y):
                task = task.observe(table_of(self.inputs, x), self.outcome.cells(np.asarray(y)))
        return AdaptedTable(task, self.inputs)


@dataclass(frozen=True)
class AdaptedTable(AbstractAdapted):
    """A fitted model adapted to a task. `task` is the adapted task, and `inputs` are the axes."""

    task: AdaptedTask
    inputs: tuple[Axis, ...]

    @property
    def posterior(self):
        return self.task.posterior

    @property
    def quick(self):
        column, known = self.task.schema.outputs[0], self.task.reference or {}
        return self.task.schema.family == NORMAL.name and (column.level is None or column.name in known)

    def moments(self, x):
        with quiet():
            mean, std = self.task.predict(table_of(self.inputs, x), return_std=True)
        return mean, std

    def bands(self, x):
        table = table_of(self.inputs, x)
        with quiet():
            return Bands(*_ends(*(self.task.interval(table, level) for level in (0.9, 0.5))))

    def encoded(self, x):
        schema = self.task.schema
        table = read_table(table_of(self.inputs, x))
        seen = self.task.reference
        with quiet():
            return jnp.asarray(schema.encode_x(table, schema.reference(table) if seen is None else seen))

    def decoded(self, values):
        return self.task.schema.decode_value(values, self.task.reference)[..., 0]


def _ends(wide: tuple, narrow: tuple) -> tuple:
    """Return the ends of a wide and a narrow interval in increasing order."""
    return (wide[0], narrow[0], narrow[1], wide[1])


def table_of(inputs: tuple[Axis, ...], x: np.ndarray) -> dict[str, np.ndarray]:
    """Return rows `x` of shape (rows, inputs) as columns of a table. `inputs` are the axes."""
    return {axis.name: axis.cells(x[:, i]) for i, axis in enumerate(inputs)}


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out warnings of the library: a page asks beyond the rows fitted on, on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
