"""A row of the table of methods: all that a name stands for."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from bmaml.errors import InputError, said
from bmaml.learners.base import AbstractLearner
from bmaml.methods.made_of import AbstractIngredients, Offer, OfModel, OfNothing, Preset, Settings
from bmaml.models import AbstractNetwork, GaussianModel
from bmaml.training.method import AbstractMethod
from bmaml.training.optimisers import AbstractOuter, Adam, Muon
from bmaml.training.plan import Plan

Outcome = Literal["numbers", "classes", "policies"]
_PLAN, _OUTER, _MODEL = Plan(10_000, 25, Muon(1e-2, clip=1.0)), Adam(2e-3, clip=10.0), OfModel()
TABLES = Plan(4_000, 16, Adam(2e-3, clip=1.0, weight_decay=1e-4))
"""How every method is trained on a table, and on other tasks for which nothing was tuned."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Methods of one kind: `label` is their name in a legend, and `colour` their colour in pictures of many methods."""

    label: str
    colour: str


OTHER = Group("other methods", "#000000")


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A method's settings for one kind of tasks, and how the method is trained on them.

    Without tuned settings, the defaults of the preset apply.

    - `settings`: keyword arguments of the preset.
    - `plan`: the training.
    - `precision`: start of a model's noise precision (None: what the tasks offer).
    - `derive`: completes the settings from each other.
    - `network`: the network that is adapted (None: what the tasks offer).
    - `passes`: most passes over finite tasks, after which a method knows them by heart (None: any number).
    """

    settings: Settings = dataclasses.field(default_factory=dict)
    plan: Plan = _PLAN
    precision: float | None = None
    derive: Callable[[Settings], Settings] = dict
    network: AbstractNetwork | None = None
    passes: int | None = None

    def offer(self) -> Offer:
        """Return what a method is made from on sinusoids: the network alone, without settings of the tasks."""
        network = self.network
        assert network is not None  # Published settings name their network.
        return Offer(1, 1, lambda precision: GaussianModel(network, 1.0 if precision is None else precision))

    def trained(
        self,
        *,
        steps: int | None = None,
        batch: int | None = None,
        learning_rate: float | None = None,
        seed: int = 0,
        tasks: int | None = None,
    ) -> Plan:
        """Return how the method is trained, with other meta-steps (`steps`), meta-batches (`batch`) or outer rates
        (`learning_rate`).

        `tasks` is the number of tasks if they are finite. If there are few, the training is shorter, unless `steps` are given.
        """
        plan = _changed(self.plan, steps, batch, learning_rate, seed)
        if steps is not None or tasks is None or self.passes is None:
            return plan
        return dataclasses.replace(plan, steps=min(plan.steps, max(self.passes * tasks // plan.batch, 1)))


@dataclasses.dataclass(frozen=True)
class TunedImages:
    """A method's settings for classes of images, and how the method is trained on them.

    - `settings`: keyword arguments of the preset.
    - `filters`: filters of the network.
    - `way`: classes of a training episode (None: as many as in scoring).
    - `queries`: query images of each class.
    - `batch`, `accumulation_steps`: episodes of a meta-batch, and the groups that it is split into.
    - `steps`, `outer`: meta-steps and outer optimiser.
    - `answering_steps`: inner steps of a trained method (None: as many as in training).
    - `compared`: whether a leaderboard of images has this method by default.
    """

    settings: Settings = dataclasses.field(default_factory=dict)
    filters: int = 32
    way: int | None = None
    queries: int = 5
    batch: int = 4
    accumulation_steps: int = 1
    steps: int = 1_000
    outer: AbstractOuter = _OUTER
    answering_steps: int | None = None
    compared: bool = False

    def trained(
        self, *, steps: int | None = None, batch: int | None = None, learning_rate: float | None = None, seed: int = 0
    ) -> Plan:
        """Return how the method is trained, with other meta-steps (`steps`), meta-batches (`batch`) or outer rates
        (`learning_rate`).
        """
        plan = Plan(self.steps, self.batch, self.outer, accumulation_steps=self.accumulation_steps)
        return _changed(plan, steps, batch, learning_rate, seed)


def _changed(plan: Plan, steps: int | None, batch: int | None, learning_rate: float | None, seed: int) -> Plan:
    outer: Any = plan.outer
    outer = outer if learning_rate is None else dataclasses.replace(outer, learning_rate=learning_rate)
    size = plan.batch if batch is None else batch
    # A changed meta-batch may not divide into this many groups.
    groups = math.gcd(plan.accumulation_steps, size) or 1
    length = plan.steps if steps is None else steps
    return dataclasses.replace(plan, steps=length, batch=size, outer=outer, seed=seed, accumulation_steps=groups)


@dataclasses.dataclass(frozen=True)
class MethodSpec:
    """A row of the table of methods.

    - `name`: in lower case with hyphens, as it is typed.
    - `preset`: a function that builds the method; its keyword arguments are the method's settings.
    - `made_of`: what the preset is called with, besides its settings.
    - `fits`: the kinds of outcome that the method predicts.
    - `title`: what pictures call the method; the name where it is empty.
    - `group` and `colour`: its group in pictures of many methods, and its own colour in pictures of few.
    - `papers`: keys of the papers behind it, as in `papers.bib`.
    - `sinusoids`, `tables`, `images`: its settings and its training for each kind of tasks.
    - `processes`: the same for Gaussian processes (None: those for tables).
    - `published`: the settings and the training of its paper, by the name of the family of tasks.
    - `fine_tuned`: whether a policy is trained without adaptation and takes the family's rate for fine-tuning afterwards.
    - `bibtex`: entries of papers that are not in `papers.bib`.
    """

    name: str
    preset: Preset
    made_of: AbstractIngredients = _MODEL
    fits: tuple[Outcome, ...] = ("numbers",)
    title: str = ""
    group: Group = OTHER
    colour: str | None = None
    papers: tuple[str, ...] = ()
    sinusoids: Tuned = Tuned()
    tables: Tuned = Tuned(plan=TABLES)
    images: TunedImages = TunedImages()
    processes: Tuned | None = None
    published: Mapping[str, Tuned] = dataclasses.field(default_factory=dict)
    fine_tuned: bool = False
    bibtex: str = ""

    @property
    def made_by(self) -> Preset:
        """The preset."""
        return self.preset

    @property
    def settings(self) -> frozenset[str]:
        """Names of the method's settings: the keyword arguments of its preset, which are written there and nowhere else."""
        every = inspect.signature(self.preset).parameters.values()
        return frozenset(parameter.name for parameter in every if parameter.kind is parameter.KEYWORD_ONLY)

    @property
    def summary(self) -> str:
        """The first sentence of the preset's docstring."""
        return (inspect.getdoc(self.preset) or "").split("\n\n")[0].replace("\n", " ")

    def check(self, settings: Settings) -> None:
        """Check that the method has all of these `settings`.

        Raises: InputError that names the first unknown one.
        """
        unknown = sorted(set(settings) - self.settings)
        if not unknown:
            return
        if unknown[0] == "particles":
            raise InputError(
                f"method {self.name!r} has one particle and so no particles to set: leave them out or use a method with "
                "several, such as 'bmaml'."
            )
        raise InputError(
            f"method {self.name!r} has no {unknown[0].replace('_', ' ')} to set: leave that out or use another method."
        )

    def as_published(self, tasks: str) -> Tuned:
        """Return the paper's settings for the family `tasks`.

        Raises: InputError if the method's paper gives none.
        """
        if tasks in self.published:
            return self.published[tasks]
        others = f" and has some for {', '.join(self.published)}" if self.published else ""
        raise InputError(
            f"method {self.name!r} has no settings of its paper for {tasks}{others}: leave the paper's settings out."
        )

    def build(self, offer: Offer, tuned: Tuned, **settings: Any) -> AbstractMethod:
        """Return the method for an offer with its tuned settings.

        - `offer`: what the tasks offer to make a method from.
        - `tuned`: the tuned settings.
        - `settings`: changes; None keeps the tuned value.

        Raises: InputError for a setting that the method does not have.
        """
        chosen = {name: value for name, value in settings.items() if value is not None}
        if chosen.get("particles") == 1 and "particles" not in self.settings:
            del chosen["particles"]  # One particle is what it has.
        self.check(chosen)
        offered = {name: value for name, value in offer.settings.items() if name in self.settings}
        complete = tuned.derive(offered | tuned.settings | chosen)
        method = self.made_of.build(self.preset, offer, tuned.precision, complete)
        return dataclasses.replace(method, name=self.name)


def _instead_of_method(found: Any) -> str:
    kind = found if inspect.isclass(found) else type(found)
    if issubclass(kind, AbstractLearner):
        return f"give a function that returns bmaml.Method({kind.__name__}(...), objective)"
    return "give a bmaml.methods.MethodSpec, a bmaml.Method, or a function of a model that returns one"


def as_method(name: str, found: Any) -> MethodSpec:
    """Return a row called `name` for what a plug-in or a path leads to (`found`).

    That is a row, a finished method, or a preset: a function of a model (or of nothing) and of its settings.
    Raises: InputError for anything else.
    """
    if isinstance(found, MethodSpec):
        return dataclasses.replace(found, name=name) if ":" in name else found
    if isinstance(found, AbstractMethod):
        return MethodSpec(name, lambda: found, OfNothing(), ("numbers", "classes", "policies"))
    if not callable(found) or inspect.isclass(found):
        raise InputError(f"{name} is {said(found)}, and no method: {_instead_of_method(found)}.")
    places = [
        parameter for parameter in inspect.signature(found).parameters.values() if parameter.kind is not parameter.KEYWORD_ONLY
    ]
    build: Any = found
    return MethodSpec(name, build, OfModel() if places else OfNothing(), ("numbers", "classes", "policies"))
