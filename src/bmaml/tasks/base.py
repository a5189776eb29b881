"""The contract of a task source, and the source that holds its tasks in memory."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data, Task
from bmaml.errors import InputError
from bmaml.io.notebook import facts_html, shapes
from bmaml.io.registry import register
from bmaml.tasks.shots import Shots, shot_counts

Selection = Literal["random", "first"]


class AbstractSource(eqx.Module):
    """What a run learns from: data to predict, or environments to act in."""

    @abstractmethod
    def sample(self, key: PRNGKeyArray) -> Any:
        """Return one task (or its goal) as a pure function of the key."""

    def _repr_html_(self) -> str:
        return facts_html(type(self).__name__, shapes(self))


class ScoredTask(eqx.Module):
    """A task to score a learner on. `truth` holds the noise-free targets of the query, or the noisy ones if they are
    unknown.
    """

    task: Task
    truth: Array


class Sizes(NamedTuple):
    """Numbers of `shots` and of `queries` (query points) of a task; for classes, of each class."""

    shots: int
    queries: int


class AbstractTasks(AbstractSource):
    """A source of tasks. A draw is a pure function of a key, so the compiled training loop can draw tasks.

    A new family writes `sample`, `inputs` and `outputs`. It can then be trained on and scored on. Everything else that
    evaluation asks has a default here. A source overrides a default if it knows better:

    - `sized` and `limits`, if it can draw more points than it does;
    - `truth`, if it knows the noise-free function;
    - `support_rows`, if one shot is several rows;
    - `total` and `evaluation_task`, if its tasks are finite.

    A source that wraps another one passes all of them on.
    """

    @abstractmethod
    def sample(self, key: PRNGKeyArray) -> Task:
        """Return one task. Every draw has the same shapes (padded, masked)."""

    @property
    @abstractmethod
    def inputs(self) -> int:
        """Width of an input row."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Width of a target row; for classes, the number of classes."""

    @property
    def total(self) -> int | None:
        """Number of tasks, each of which is scored once; None if tasks are endless."""
        return None

    def support_rows(self, shots: int | Array) -> int | Array:
        """Return how many rows of a support make `shots` shots. The rows of fewer shots come first."""
        return shots

    @property
    def limits(self) -> Sizes | None:
        """The most shots and query points that the source can give; None if it can draw any number.

        By default they are those of a draw. Whoever asks for no numbers gets no more than these.
        """
        return drawn_sizes(self)

    def sized(self, shots: Shots, queries: int) -> AbstractTasks:
        """Return the source with `shots` shots (one number, or several that are equally likely) and `queries` query points.

        By default the first points of each draw are taken.
        Raises: InputError if the source cannot give so many.
        """
        counts, drawn, name = shot_counts(shots), drawn_sizes(self), type(self).__name__
        for most, asked, what in ((drawn.shots, max(counts), "shots"), (drawn.queries, queries, "query points")):
            if asked > most:
                raise InputError(
                    f"{name} draws tasks with {most} {what} and {asked} are asked for: use at most {most}, or give {name} the "
                    "methods sized and limits."
                )
        return self if (counts, queries) == ((drawn.shots,), drawn.queries) else ShortenedTasks(self, counts, queries)

    def truth(self, key: PRNGKeyArray, x: Array) -> Array | None:
        """Return the noise-free targets at inputs `x` of the task that `sample(key)` draws, or None if they are unknown."""
        del key, x
        return None

    def evaluation_task(self, key: PRNGKeyArray, index: Array, given: Array) -> ScoredTask:
        """Return task number `index` of an evaluation, with all but `given` shots of its support masked.

        Each number has its own key. If there is a `total`, index and task belong together.
        """
        del index
        return scored(self, key, given)


def drawn_sizes(tasks: AbstractTasks) -> Sizes:
    """Return how many shots and query points a draw of `tasks` has, padded ones included."""
    task, rows = jax.eval_shape(tasks.sample, jax.random.key(0)), int(tasks.support_rows(1))
    return Sizes(len(task.support.mask) // rows, len(task.query.mask) // rows)


def scored_queries(tasks: AbstractTasks, asked: int | None, usual: int) -> int:
    """Return how many query points of `tasks` to score on: as many as were `asked` for, else `usual`, or all if there are
    fewer.
    """
    if asked is not None:
        return asked
    return usual if tasks.limits is None else min(usual, tasks.limits.queries)


def scored(source: AbstractTasks, key: PRNGKeyArray, given: Array) -> ScoredTask:
    """Return the task that `source` draws, with its truth and with all but `given` shots of its support masked."""
    task = source.sample(key)
    mask = task.support.mask
    mask = jnp.where(jnp.arange(len(mask)) < source.support_rows(given), mask, 0.0)
    truth = source.truth(key, task.query.x)
    task = Task(dataclasses.replace(task.support, mask=mask), task.query)
    return ScoredTask(task, task.query.y if truth is None else truth)


def draw_shots(key: PRNGKeyArray, shots: tuple[int, ...]) -> Array:
    """Return one of the counts in `shots`, each equally likely."""
    return jnp.asarray(shots)[jax.random.randint(key, (), 0, len(shots))]


class AbstractDerivedTasks(AbstractTasks):
    """Tasks made from those of another source, which says how wide rows are and how many points there can be."""

    if TYPE_CHECKING:  # A field: an abstract field could not be narrowed by a subclass.

        @property
        def source(self) -> AbstractTasks:
            """The other source."""
            ...

    @property
    def inputs(self):
        return self.source.inputs

    @property
    def outputs(self):
        return self.source.outputs

    @property
    def limits(self):
        return self.source.limits

    def support_rows(self, shots):
        return self.source.support_rows(shots)


@register("tasks/shortened")
class ShortenedTasks(AbstractDerivedTasks):
    """Tasks of a `source` with the first of their points alone.

    - `shots`: shots of the support; each count is equally likely.
    - `queries`: query points; for classes, of each class.
    """

    source: AbstractTasks
    shots: tuple[int, ...] = eqx.field(static=True, converter=shot_counts)
    queries: int = eqx.field(static=True)

    @property
    def total(self):
        return self.source.total

    def sized(self, shots, queries):
        return self.source.sized(shots, queries)

    def truth(self, key, x):
        return self.source.truth(jax.random.split(key)[0], x)

    def sample(self, key):
        source_key, shot_key = jax.random.split(key)
        return self._shortened(self.source.sample(source_key), draw_shots(shot_key, self.shots))

    def evaluation_task(self, key, index, given):
        found = self.source.evaluation_task(key, index, given)
        task = self._shortened(found.task, given)
        return ScoredTask(task, found.truth[: len(task.query.mask)])

    def _shortened(self, task: Task, given: Array) -> Task:
        rows = self.source.support_rows(1)
        support = jax.tree.map(lambda leaf: leaf[: max(*self.shots, 1) * rows], task.support)
        mask = jnp.where(jnp.arange(len(support.mask)) < self.source.support_rows(given), support.mask, 0.0)
        query = jax.tree.map(lambda leaf: leaf[: self.queries * rows], task.query)
        return Task(dataclasses.replace(support, mask=mask), query)


@register("tasks/fixed")
class FixedTasks(AbstractTasks):
    """A finite set of tasks with padded rows. A draw picks a task and splits its rows into support and query.

    - `rows`: all tasks, on a leading axis.
    - `shots`: rows of the support. Each count that leaves the task at least one query row is equally likely.
    - `queries`: most rows of the query; with `selection="first"` those that follow the support.
    - `selection`: `"random"` takes a random subset as the support. `"first"` takes the first rows in their order (a forecast).

    Raises: InputError if a task has fewer than two rows, or no more rows than the smallest shot count.
    """

    rows: Data
    shots: tuple[int, ...] = eqx.field(static=True, converter=shot_counts)
    queries: int = eqx.field(static=True)
    selection: Selection = eqx.field(static=True, default="random")

    def __check_init__(self):
        # Inside a transformation the fields are tracers or placeholders, whose values cannot be checked.
        if eqx.is_array(self.rows.mask) and not isinstance(self.rows.mask, Tracer):
            counts = self.rows.count
            if int(counts.min()) <= min(self.shots):
                raise InputError(
                    f"task {int(counts.argmin())} has {int(counts.min())} rows and the smallest shot count is "
                    f"{min(self.shots)}: a task needs at least one row more than that; use fewer shots."
                )

    @property
    def inputs(self):
        return self.rows.x.shape[-1]

    @property
    def outputs(self):
        classes = jnp.issubdtype(self.rows.y.dtype, jnp.integer)
        return int(self.rows.y.max()) + 1 if classes else self.rows.y.shape[-1]

    @property
    def total(self):
        return len(self.rows.mask)

    @property
    def limits(self):
        return None

    def sized(self, shots, queries):
        return dataclasses.replace(self, shots=shots, queries=queries)

    def evaluation_task(self, key, index, given):
        rows = jax.tree.map(lambda leaf: leaf[index], self.rows)
        task = split_rows(self.ordered(rows, key), given, max(self.shots), self.queries)
        return ScoredTask(task, task.query.y)

    def sample(self, key):
        task_key, split_key = jax.random.split(key)
        index = jax.random.randint(task_key, (), 0, len(self.rows.mask))
        return self.split(jax.tree.map(lambda leaf: leaf[index], self.rows), split_key)

    def split(self, rows: Data, key: PRNGKeyArray) -> Task:
        """Return one task's `rows` as support and query."""
        shot_key, order_key = jax.random.split(key)
        shots = jnp.asarray(self.shots)
        fits = jnp.where(shots.astype(rows.mask.dtype) < rows.count, 0.0, -jnp.inf)
        count = shots[jax.random.categorical(shot_key, fits)]
        return split_rows(self.ordered(rows, order_key), count, max(self.shots), self.queries)

    def ordered(self, rows: Data, key: PRNGKeyArray) -> Data:
        """Return one task's `rows` in the order in which they are given: random, or unchanged."""
        if self.selection == "first":
            return rows
        # Masked rows sort last, so the first rows are the real ones in random order.
        order = jnp.argsort(jax.random.uniform(key, rows.mask.shape) + (1 - rows.mask))
        return jax.tree.map(lambda leaf: leaf[order], rows)


def split_rows(rows: Data, count: Array | int, most: int, queries: int) -> Task:
    """Return the first `count` of `rows` as the support (padded to `most`) and the next `queries` as the query."""
    most = min(most, len(rows.mask))
    support = jax.tree.map(lambda leaf: leaf[:most], rows)
    support = Data(support.x, support.y, support.mask * (jnp.arange(most) < count).astype(support.mask.dtype))
    place = count + jnp.arange(queries)
    there: Float[Array, " queries"] = (place < len(rows.mask)).astype(rows.mask.dtype)
    place = jnp.minimum(place, len(rows.mask) - 1)
    return Task(support, Data(rows.x[place], rows.y[place], rows.mask[place] * there))


def prefix_task(rows: Data, count: Array, most: int) -> Task:
    """Return the first `count` of `rows` as the support (padded to `most`), and the rows from number `most` on as the query.

    So the query has the same rows for every count, and supports of fewer rows are prefixes of those of more.
    """
    support, query = (jax.tree.map(lambda leaf, part=part: leaf[part], rows) for part in (slice(most), slice(most, None)))
    given = (jnp.arange(most) < count).astype(support.mask.dtype)
    return Task(dataclasses.replace(support, mask=support.mask * given), query)
