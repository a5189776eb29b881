"""The contract of a learner, and the abilities that an objective may ask a learner for.

An objective never asks for a class of learner. It asks for an ability, which is a small abstract class here, and a learner
has the ability by implementing the one to five methods of the class. So a new learner gets every objective that fits it.
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
    """A learner that adapts by steps and can take more of them from where it stopped.

    `steps` is the number of steps that `adapt` takes. `ChaserLoss` goes on from where adaptation stopped, `PooledLoss` scores
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
        """Return the state after `steps` further inner steps on `support`."""

    @abstractmethod
    def finish(self, meta: Meta, state: State, support: Data, *, key: PRNGKeyArray) -> AbstractPosterior:
        """Return the posterior that a state stands for; `support` is what the steps have seen."""

    @abstractmethod
    def position(self, state: State, hyper: bool) -> PyTree[Any]:
        """Return what the steps move, particles on the leading axis: `ChaserLoss` measures distances between two of these.

        Without `hyper` only the network's weights are returned, without noise and prior precisions.
        """

    @abstractmethod
    def with_steps(self, steps: int) -> AbstractLearner:
        """Return the same learner with another number of inner steps."""


class AbstractLatentLearner(AbstractLearner):
    """A learner with a latent variable z for each task and a bound on its evidence: the pieces that `Elbo` puts together."""

    @abstractmethod
    def prior(self, meta: Meta, support: Data) -> DiagonalGaussian:
        """Return p(z | support), all that training asks the guide to stay near."""

    @abstractmethod
    def guide(self, meta: Meta, task: Task, *, key: PRNGKeyArray) -> DiagonalGaussian:
        """Return q(z | task), the variational posterior in training; it may look at the query."""

    @abstractmethod
    def decode(self, meta: Meta, latent: PyTree[Any], support: Data, *, key: PRNGKeyArray) -> AbstractPosterior:
        """Return what a task with this latent and this support predicts."""

    @abstractmethod
    def log_hyper_prior(self, meta: Meta) -> Float[Array, ""]:
        """Return the log-density of the meta-parameters, in nats up to a constant (0 where they have no prior)."""


class AbstractEvidenceLearner(AbstractLearner):
    """A learner that knows the evidence of a data set, log p(data): `EvidenceLoss` and `QueryLoss(evidence=...)` need it.

    The joint density of a query follows, too: p(query | support) = p(support and query) / p(support).
    """

    @abstractmethod
    def weigh(self, meta: Meta, data: Data, *, key: PRNGKeyArray) -> tuple[AbstractPosterior, Float[Array, ""]]:
        """Return the posterior given the data, as `adapt` does, and the log evidence of the data in nats (a sum)."""


class AbstractCurvedLearner(AbstractLearner):
    """A learner that adapts to modes and has a curvature there: `LaplaceLoss` needs both."""

    @abstractmethod
    def modes(self, meta: Meta, support: Data, *, key: PRNGKeyArray) -> ParticlePosterior:
        """Return the adapted parameters themselves, without the uncertainty about them."""

    @abstractmethod
    def curvatures(self, params: PyTree[Any], data: Data) -> AbstractPrecision:
        """Return the curvature of some data + prior at each of the stacked particles' parameters."""


class AbstractDrawingLearner(AbstractLearner):
    """A learner whose particles are drawn when it adapts, so that a trained learner may be asked with more of them."""

    @abstractmethod
    def with_particles(self, particles: int) -> AbstractLearner:
        """Return the same learner with another number of particles.

        Raises: PairError where the learner's settings do not allow it.
        """


class AbstractClassLearner(AbstractLearner):
    """A learner whose meta-parameters fit any number of classes."""

    @abstractmethod
    def with_classes(self, classes: int) -> AbstractLearner:
        """Return the same learner for tasks of another number of classes."""


class AbstractPolicyLearner(AbstractIterativeLearner[State]):
    """A learner of policies: every leaf of a support has leading axes (steps, particles), the data of each step and particle.

    Each particle gathers its own trajectories, so its data differ from step to step and from particle to particle. `adapt`
    and `finish` return a `ParticlePosterior` of the policies' parameters.
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
        """Return the particles that a state stands for."""

    @abstractmethod
    def adapt(self, meta: Meta, support: Data, *, key: PRNGKeyArray) -> ParticlePosterior:
        """Return the adapted particles of one task given what each has gathered before each step."""

    @property
    @abstractmethod
    def coupled(self) -> bool:
        """Whether a particle's steps depend on where the other particles are."""

    @abstractmethod
    def slowed(self, factor: float) -> AbstractPolicyLearner[State]:
        """Return the same learner with the length of its steps multiplied."""


class AbstractLimitedLearner(AbstractLearner):
    """A learner whose settings limit what it can do, so that a pair that does not fit is refused when it is built.

    Without this a pair is still refused, when the first meta-step is compiled.
    """

    @abstractmethod
    def limit(self, need: Need) -> str | None:
        """Return why the learner cannot serve a need, as the end of a sentence after "because"; None where it can."""


class AbstractWrapper(AbstractLearner):
    """A learner around another one, which it hands to every objective: so a wrapper has what the inner learner has."""

    if TYPE_CHECKING:

        @property
        def inner(self) -> AbstractLearner:
            """The learner within."""
            ...

    @abstractmethod
    def within(self, meta: Meta, task: Task) -> tuple[Meta, Task]:
        """Return the inner learner's meta-parameters, and the task as the inner learner sees it."""
