"""The contract of a learner, and the abilities that an objective may ask a learner for.

An objective never asks for a class of learner. It asks for an ability, which is a small abstract class in this file. A
learner gets the ability by implementing the one to five methods of the class. So a new learner works with every objective
that fits it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from bmaml.data import Data, Task
from bmaml.inference.curvature.base import AbstractPrecision
from bmaml.inference.posteriors import AbstractPosterior, ParticlePosterior
from bmaml.learners.diagonal import DiagonalGaussian
from bmaml.models.base import AbstractModel

Meta = PyTree[Any]
State = TypeVar("State")
# What an objective may need that depends on a learner's settings: targets that are numbers, the joint density of several
# points, the evidence.
Need = Literal["numbers", "joint", "evidence"]


class AbstractLearner(eqx.Module):
    """Says how to adapt. Meta-parameters are an argument, never the learner itself."""

    @abstractmethod
    def init(self, key: PRNGKeyArray) -> Meta:
        """Return fresh meta-parameters."""

    @abstractmethod
    def adapt(self, meta: Meta, support: Data, *, key: PRNGKeyArray) -> AbstractPosterior:
        """Return the posterior of one task given its support."""


class AbstractIterativeLearner(AbstractLearner, Generic[State]):
    """A learner that adapts by steps and can continue from where it stopped.

    `steps` is the number of steps that `adapt` takes. `ChaserLoss` continues from the end of adaptation, `PooledLoss` scores
    the state before the first step, and `evaluate` scores other numbers of steps.
    """

    if TYPE_CHECKING:  # A field or a property: an abstract property could not be overridden by a field.

        @property
        def steps(self) -> int:
            """Number of steps that `adapt` takes."""
            ...

    @abstractmethod
    def start(self, meta: Meta, support: Data, *, key: PRNGKeyArray) -> State:
        """Return the state before the first step."""

    @abstractmethod
    def advance(self, meta: Meta, state: State, support: Data, steps: int, *, key: PRNGKeyArray) -> State:
        """Return the state after `steps` further inner steps on `support`, from `state`."""

    @abstractmethod
    def finish(self, meta: Meta, state: State, support: Data, *, key: PRNGKeyArray) -> AbstractPosterior:
        """Return the posterior of a `state`; `support` is what the steps have seen."""

    @abstractmethod
    def position(self, state: State, hyper: bool) -> PyTree[Any]:
        """Return what the steps have moved in `state`, with particles on the leading axis. `ChaserLoss` measures distances
        between these.

        Without `hyper` only the network's weights are returned, without noise and prior precisions.
        """

    @abstractmethod
    def with_steps(self, steps: int) -> AbstractLearner:
        """Return the same learner with `steps` inner steps."""


class AbstractParticleLearner(AbstractIterativeLearner[State]):
    """A learner whose steps move parameters of a `model`: one set of them, or several particles. `Laplace` needs this.

    The state before the first step holds the parameters that all tasks start from.
    """

    if TYPE_CHECKING:

        @property
        def model(self) -> AbstractModel:
            """The model of the parameters."""
            ...

    @abstractmethod
    def finish(self, meta: Meta, state: State, support: Data, *, key: PRNGKeyArray) -> ParticlePosterior:
        """Return the parameters of a `state`, particles on the leading axis."""


class AbstractLatentLearner(AbstractLearner):
    """A learner with a latent variable z for each task and a bound on its evidence. `Elbo` combines these pieces."""

    @abstractmethod
    def prior(self, meta: Meta, support: Data) -> DiagonalGaussian:
        """Return p(z | support), which the guide must stay near in training."""

    @abstractmethod
    def guide(self, meta: Meta, task: Task, *, key: PRNGKeyArray) -> DiagonalGaussian:
        """Return q(z | task), the variational posterior in training. It may use the query."""

    @abstractmethod
    def decode(self, meta: Meta, latent: PyTree[Any], support: Data, *, key: PRNGKeyArray) -> AbstractPosterior:
        """Return what a task with the latent value `latent` and this support predicts."""

    @abstractmethod
    def log_hyper_prior(self, meta: Meta) -> Float[Array, ""]:
        """Return the log density of the meta-parameters, in nats up to a constant (0 without a prior)."""


class AbstractEvidenceLearner(AbstractLearner):
    """A learner that knows the evidence of a data set, log p(data). `EvidenceLoss` and `QueryLoss(evidence=...)` need it.

    The joint density of a query follows: p(query | support) = p(support and query) / p(support).
    """

    @abstractmethod
    def weigh(self, meta: Meta, data: Data, *, key: PRNGKeyArray) -> tuple[AbstractPosterior, Float[Array, ""]]:
        """Return the posterior given `data`, as `adapt` does, and the log evidence of the data in nats (a sum)."""


class AbstractMixingLearner(AbstractEvidenceLearner):
    """A learner whose prior is a mixture with learned masses, which `EvidenceMasses` can find from the evidence."""

    @abstractmethod
    def masses(self, meta: Meta) -> tuple[Array, ...]:
        """Return the leaves of `meta` that are unnormalised log masses, along their last axes, of what the prior mixes."""


class AbstractCurvedLearner(AbstractLearner):
    """A learner that adapts to modes and has a curvature at them. `LaplaceLoss` needs both."""

    @abstractmethod
    def modes(self, meta: Meta, support: Data, *, key: PRNGKeyArray) -> ParticlePosterior:
        """Return the adapted parameters themselves, without their uncertainty."""

    @abstractmethod
    def curvatures(self, params: PyTree[Any], data: Data) -> AbstractPrecision:
        """Return the curvature of `data` + prior at each of the stacked particles' parameters."""


class AbstractDrawingLearner(AbstractLearner):
    """A learner that draws its particles when it adapts, so that a trained learner may use more of them."""

    @abstractmethod
    def with_particles(self, particles: int) -> AbstractLearner:
        """Return the same learner with `particles` particles.

        Raises: PairError if the learner's settings do not allow it.
        """


class AbstractClassLearner(AbstractLearner):
    """A learner whose meta-parameters fit any number of classes."""

    @abstractmethod
    def with_classes(self, classes: int) -> AbstractLearner:
        """Return the same learner for tasks of `classes` classes."""


class AbstractPolicyLearner(AbstractIterativeLearner[State]):
    """A learner of policies. Every leaf of a support has leading axes (steps, particles): the data of each step and particle.

    Each particle gathers its own trajectories, so its data differ from step to step and from particle to particle. `adapt` and
    `finish` return a `ParticlePosterior` of the policies' parameters.
    """

    @property
    @abstractmethod
    def model(self) -> AbstractModel:
        """The policy."""

    @property
    @abstractmethod
    def particles(self) -> int:
        """Number of policies."""

    @abstractmethod
    def finish(self, meta: Meta, state: State, support: Data, *, key: PRNGKeyArray) -> ParticlePosterior:
        """Return the particles of a `state`."""

    @abstractmethod
    def adapt(self, meta: Meta, support: Data, *, key: PRNGKeyArray) -> ParticlePosterior:
        """Return the adapted particles of one task, given what each has gathered before each step."""

    @property
    @abstractmethod
    def coupled(self) -> bool:
        """Whether a particle's steps depend on where the other particles are."""

    @abstractmethod
    def slowed(self, factor: float) -> AbstractPolicyLearner[State]:
        """Return the same learner with the length of its steps multiplied by `factor`."""


class AbstractLimitedLearner(AbstractLearner):
    """A learner whose settings limit what it can do, so that a pair that does not fit is refused when it is built.

    Without this ability such a pair is still refused, but only when the first meta-step is compiled.
    """

    @abstractmethod
    def limit(self, need: Need) -> str | None:
        """Return why the learner cannot serve a `need`, as the end of a sentence after "because", or None if it can."""


class AbstractStatingLearner(AbstractLearner):
    """A learner whose predictions may state a noise that its steps do not use. `ChaserLoss` then trains the noise by the
    query.
    """

    @property
    @abstractmethod
    def states_noise(self) -> bool:
        """Whether predictions state a noise that the steps do not use."""


class AbstractWrapper(AbstractLearner):
    """A learner around another one. Objectives get the inner learner, so a wrapper has the abilities of the inner learner."""

    if TYPE_CHECKING:

        @property
        def inner(self) -> AbstractLearner:
            """The learner inside."""
            ...

    @abstractmethod
    def within(self, meta: Meta, task: Task) -> tuple[Meta, Task]:
        """Return the inner learner's meta-parameters, and the task in the inner learner's view."""
