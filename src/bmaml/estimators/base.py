"""What the estimators share: the manner of scikit-learn, and a fitted run in a folder."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bmaml.data import Data
from bmaml.errors import InputError
from bmaml.estimators.scikit import Kind, routing, tags, unfitted
from bmaml.inference.posteriors import AbstractPosterior
from bmaml.io.checked import check_arguments
from bmaml.io.checkpoint import RunFolder
from bmaml.io.notebook import facts_html
from bmaml.learners.base import AbstractLearner
from bmaml.learners.predictor import Predictor
from bmaml.learners.recalibrated import RecalibratedLearner
from bmaml.methods import Method
from bmaml.training.plan import Plan
from bmaml.training.run import Run, load


class AbstractEstimator(ABC):
    """Arguments that can be read, changed and shown, and a fitted run (`run_`) that can be saved."""

    run_: Run[Data, AbstractPosterior]

    @abstractmethod
    def plan(self) -> Plan:
        """Return how `fit` trains."""

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """Return what a fitted model is, besides its run, as values that JSON can hold."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments, as scikit-learn asks. `deep` has no effect, because no argument is an
        estimator.
        """
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any):
        """Change the constructor's arguments named in `params`; returns self.

        Raises: InputError for an unknown argument.
        """
        for name, value in params.items():
            if name not in self.get_params():
                raise InputError(f"there is no parameter {name!r}: the parameters are {', '.join(self.get_params())}.")
            setattr(self, name, value)
        return self

    def check_settings(self) -> None:
        """Check the constructor's arguments against their annotations, as scikit-learn does when `fit` is called.

        Raises: InputError for the first argument that does not fit.
        """
        check_arguments(type(self).__init__, type(self).__name__, self.get_params())

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether `fit` was called, as scikit-learn asks."""
        return hasattr(self, "run_")

    def __repr__(self) -> str:
        """Show the arguments that differ from the defaults."""
        defaults = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        shown = [f"{name}={value!r}" for name, value in self.get_params().items() if repr(value) != repr(defaults[name])]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _repr_html_(self) -> str:
        """Say in a notebook what the estimator is, how it was trained, and how good it is."""
        return facts_html(repr(self), self.facts() if hasattr(self, "run_") else {"fitted": "no: call fit"})

    def facts(self) -> dict[str, object]:
        """Return what a notebook shows of the fitted estimator, by name."""
        run = self.fitted()
        return {
            "fitted": f"in {run.seconds:.0f} seconds" if run.finished else f"up to meta-step {run.step} of {run.steps}",
            "saved in": run.directory,
        }

    def fitted(self) -> Run[Data, AbstractPosterior]:
        """Return the fitted run.

        Raises: InputError before `fit`.
        """
        if not hasattr(self, "run_"):
            name = type(self).__name__
            raise unfitted(f"this {name} is not fitted: call fit, or {name}.load.")
        return self.run_

    def save(self, path: str | Path) -> None:
        """Save the fitted model as a folder at `path`, without the data it was fitted on.

        Raises: InputError if the folder holds a run already or cannot be written.
        """
        self.fitted().save(path, self.about())

    def described(self) -> dict[str, Any]:
        """Return the kind of estimator and those of its arguments that JSON can hold."""
        params = self.get_params() | {"progress": False}
        for name, value in params.items():
            if isinstance(value, Method):
                params[name] = None
            elif isinstance(value, np.integer):
                params[name] = int(value)
            elif isinstance(value, Sequence | np.ndarray) and not isinstance(value, str):
                params[name] = [int(s) for s in value]
        return {"kind": type(self).__name__, "params": params}


class AbstractRowsEstimator(AbstractEstimator):
    """An estimator of rows that belong to tasks. scikit-learn's tools hand it the task of each row, as `groups`."""

    KIND: ClassVar[Kind]
    _metadata_request: Any  # Under this name scikit-learn copies it to clones.

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn wants to know of the estimator."""
        return tags(self.KIND)

    def get_metadata_routing(self) -> Any:
        """Return that `fit` and `score` ask for `groups`, for scikit-learn's routing of metadata."""
        return getattr(self, "_metadata_request", None) or routing(type(self).__name__)

    def set_fit_request(self, *, groups: bool | str | None = True):
        """Say whether `fit` asks scikit-learn's tools for `groups`, or under which name; returns self. It does without this."""
        return self._asking("fit", groups=groups)

    def set_score_request(
        self,
        *,
        groups: bool | str | None = True,
        given: bool | str | None = True,
        sample_weight: bool | str | None = None,
    ):
        """Say the same of `groups`, of `given` and of `sample_weight` in `score`; returns self."""
        return self._asking("score", groups=groups, given=given, sample_weight=sample_weight)

    def _asking(self, method: str, **wanted: bool | str | None):
        self._metadata_request = self.get_metadata_routing()
        for name, alias in wanted.items():
            getattr(self._metadata_request, method).add_request(param=name, alias=alias)
        return self


def recalibrated(run: Run[Data, AbstractPosterior], found: Predictor) -> Run[Data, AbstractPosterior]:
    """Return `run` with the learners of `found` (what `bmaml.evaluation.recalibrate` found), both the one that the run trained
    with and the one it answers with.
    """
    learner, method = found.learner, run.method
    assert isinstance(learner, RecalibratedLearner)
    assert isinstance(method, Method)

    def wrapped(one: AbstractLearner) -> RecalibratedLearner:
        return RecalibratedLearner(one.inner if isinstance(one, RecalibratedLearner) else one, learner.counts)

    answering = None if method.answering is None else wrapped(method.answering)
    changed = dataclasses.replace(method, learner=wrapped(method.learner), answering=answering)
    return dataclasses.replace(run, method=changed, meta=found.meta)


def saved(
    path: str | Path, kind: str, what: str, method: Method | None
) -> tuple[dict[str, Any], dict[str, Any], Run[Data, AbstractPosterior]]:
    """Return a saved model's record, the arguments of its estimator, and its run.

    - `path`: the model's folder.
    - `kind`, `what`: kind of estimator, and its name in messages.
    - `method`: the method, if the file could not hold it.

    Raises: InputError if the folder holds no saved model of this kind, or a damaged one.
    """
    about = RunFolder(path).about()
    if about.get("kind") != kind:
        raise InputError(
            f"{path} is no fitted {what}: use bmaml.load.",
            typed=f"{path} is no fitted {what}: give a folder that bmaml fit wrote for one, or use bmaml evaluate.",
        )
    run, params = load(path, method=method), about["params"]
    return about, params | ({"method": run.method} if params["method"] is None else {}), run


@contextmanager
def read_from(path: str | Path) -> Iterator[None]:
    """Turn an error about the contents of the record at `path` into one that calls the file damaged, since a file may hold
    anything.

    Raises: InputError in place of the original error.
    """
    try:
        yield
    except InputError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise InputError(f"{Path(path) / 'run.json'} is damaged (the record of the model): restore it from a copy.") from error
