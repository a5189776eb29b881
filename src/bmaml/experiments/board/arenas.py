"""What methods are compared on: a task family, a table whose tasks are partly held out, or classes of images."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import equinox as eqx
from jaxtyping import PRNGKeyArray

from bmaml.data import Task
from bmaml.estimators.regressor import FewShotRegressor
from bmaml.experiments.image_tasks import are_drawings
from bmaml.images import ImageSet
from bmaml.learners.base import AbstractLearner
from bmaml.learners.optimal import optimal_learner
from bmaml.methods import Method, fitting
from bmaml.methods.spec import Outcome
from bmaml.recipes.families import build_method, build_plan, build_tasks, judged_shots, methods_for, outcome
from bmaml.recipes.images import build_image_method, compared, image_recipe
from bmaml.recipes.tables import regression_method
from bmaml.tables import ColumnRoles, Schema, Table, fit_schema, table_tasks
from bmaml.tasks import FAMILIES
from bmaml.tasks.base import AbstractTasks, FixedTasks, Selection, scored_queries
from bmaml.training.plan import Plan

# Query points of a test task; for images, of each class.
QUERIES, _IMAGES = 50, 15


class AbstractArena(eqx.Module):
    """Tasks to train on and to score on, and every method with its settings for them."""

    name: eqx.AbstractVar[str]
    shots: eqx.AbstractVar[tuple[int, ...]]

    @property
    @abstractmethod
    def queries(self) -> int:
        """Number of query points of a test task; for classes, of each class."""

    @property
    @abstractmethod
    def outcome(self) -> Outcome:
        """What the targets are: numbers or classes."""

    @property
    @abstractmethod
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that have settings here."""

    @abstractmethod
    def method(self, name: str) -> Method:
        """Return the method `name` with its settings for this arena."""

    @abstractmethod
    def plan(self, name: str, steps: int | None, seed: int) -> Plan:
        """Return how the method `name` is trained: the recipe's meta-steps, or `steps` of them."""

    @abstractmethod
    def tasks(self, name: str, seed: int) -> AbstractTasks:
        """Return the tasks to train the method `name` on."""

    @abstractmethod
    def test(self) -> AbstractTasks:
        """Return the tasks to score on."""

    @abstractmethod
    def spare(self) -> AbstractTasks | None:
        """Return tasks for recalibration, which are neither trained nor scored on, or None."""

    @abstractmethod
    def about(self, name: str) -> dict[str, Any]:
        """Return what a run of the method `name` remembers of its origin."""

    @abstractmethod
    def optimal(self) -> AbstractLearner | None:
        """Return the predictor that knows the prior, or None."""

    def example(self, key: PRNGKeyArray) -> Task:
        """Return one task, with its support padded to the most points."""
        return self.test().sample(key)


class FamilyArena(AbstractArena):
    """A task family called `name`, scored at `shots` support points.

    With `count`, methods train on this many fixed tasks of `samples` points, not on endless ones. With `published`, methods
    have the settings of their papers, and those without any are left out.
    """

    name: str = eqx.field(static=True)
    shots: tuple[int, ...] = eqx.field(static=True)
    count: int | None = eqx.field(static=True, default=None)
    samples: int = eqx.field(static=True, default=40)
    published: bool = eqx.field(static=True, default=False)

    @property
    def queries(self):
        return scored_queries(FAMILIES.find(self.name).source(), None, QUERIES)

    @property
    def outcome(self):
        return outcome(FAMILIES.find(self.name))

    @property
    def methods(self):
        return methods_for(self.name, published=self.published)

    @staticmethod
    def default_shots(name: str) -> tuple[int, ...]:
        """Return the support sizes at which the family `name` is scored."""
        return judged_shots(name)

    def method(self, name):
        return build_method(name, self.name, published=self.published)

    def plan(self, name, steps, seed):
        return build_plan(name, self.name, steps=steps, seed=seed, published=self.published, tasks=self.count)

    def tasks(self, name, seed):
        return build_tasks(self.name, count=self.count, samples=self.samples, seed=seed)

    def test(self):
        return build_tasks(self.name, shots=self.shots, queries=self.queries)

    def spare(self):
        # Endless, and with another seed.
        return self.test()

    def about(self, name):
        return {"kind": "family", "tasks": self.name, "method": name}

    def optimal(self):
        return optimal_learner(self.test())


class TableArena(AbstractArena):
    """A table's tasks, standardised as in `bmaml fit`. Some are held out to score on, and others to recalibrate on.

    - `name`, `shots`: name of the table, and support sizes to score at.
    - `schema`: meaning of the columns.
    - `training`, `held`, `others`: tasks to train on, to score on, and to recalibrate on (or None).
    """

    name: str = eqx.field(static=True)
    shots: tuple[int, ...] = eqx.field(static=True)
    schema: Schema = eqx.field(static=True)
    training: FixedTasks
    held: FixedTasks
    others: FixedTasks | None = None

    @property
    def queries(self):
        return QUERIES

    @property
    def outcome(self):
        return "numbers"

    @property
    def methods(self):
        return fitting("numbers")

    @staticmethod
    def build(
        training: Table,
        held: Table,
        columns: ColumnRoles,
        shots: tuple[int, ...],
        selection: Selection = "random",
        spare: Table | None = None,
    ) -> TableArena:
        """Return the arena of a table that is already split by task.

        - `training`, `held`, `spare`: rows to train on, to score on, and to recalibrate on.
        - `columns`: roles of the columns.
        - `shots`: support sizes.
        - `selection`: which rows of a task are given.

        Raises: InputError that names the column, line or task that does not fit.
        """
        schema = fit_schema(training, columns)
        tables = (training, held) if spare is None else (training, held, spare)
        tasks = (table_tasks(rows, schema, shots=shots, selection=selection, training=rows is training) for rows in tables)
        return TableArena(training.name, shots, schema, *tasks)

    def method(self, name):
        return regression_method(name, self.schema.width, len(self.schema.outputs))

    def plan(self, name, steps, seed):
        return FewShotRegressor(name, steps=steps, seed=seed).plan()

    def tasks(self, name, seed):
        return self.training

    def test(self):
        return self.held

    def spare(self):
        return self.others

    def about(self, name):
        return {"kind": "leaderboard", "table": self.name, "method": name}

    def optimal(self):
        return None


class ImageArena(AbstractArena):
    """Episodes of classes of images, where turned drawings are classes of their own. Methods train on other classes.

    - `name`, `shots`, `way`: name of the images, support sizes to score at, and classes of a task.
    - `training`, `held`: images to train on and to score on.
    """

    name: str = eqx.field(static=True)
    shots: tuple[int, ...] = eqx.field(static=True)
    way: int = eqx.field(static=True)
    training: ImageSet
    held: ImageSet

    @property
    def queries(self):
        return _IMAGES

    @property
    def outcome(self):
        return "classes"

    @property
    def turned(self) -> bool:
        """Whether turned images are classes of their own."""
        return are_drawings(self.training)

    @property
    def methods(self):
        return compared()

    def method(self, name):
        # There may be fewer training classes than the recipe's way.
        way = image_recipe(name).training_way(self.training, self.way, rotations=self.turned)
        return build_image_method(name, self.training.shape, way)

    def plan(self, name, steps, seed):
        return image_recipe(name).plan(steps=steps, seed=seed)

    def tasks(self, name, seed):
        return image_recipe(name).episodes(self.training, self.way, rotations=self.turned)

    def test(self):
        return self.held.episodes(self.way, self.shots, self.queries, rotations=self.turned)

    def spare(self):
        return None

    def about(self, name):
        return {"kind": "leaderboard", "images": self.name, "method": name}

    def optimal(self):
        return None
