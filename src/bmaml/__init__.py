"""Bayesian meta-learning: learn a prior from many small data sets, adapt to a new one from a handful of points.

A name is imported when it is first asked for, and so is a room, such as `bmaml.models`. So `import bmaml` takes a few
milliseconds, and a program loads JAX only if it needs JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # What a type checker reads; `_PLACES` says the same to Python, and a test compares the two.
    from bmaml import images as images
    from bmaml import methods as methods
    from bmaml import rl as rl
    from bmaml import tasks as tasks
    from bmaml.data import Data as Data
    from bmaml.data import Task as Task
    from bmaml.errors import BmamlError as BmamlError
    from bmaml.errors import InputError as InputError
    from bmaml.errors import LostProcessError as LostProcessError
    from bmaml.errors import PairError as PairError
    from bmaml.estimators.classifier import FewShotClassifier as FewShotClassifier
    from bmaml.estimators.regressor import FewShotRegressor as FewShotRegressor
    from bmaml.estimators.table_classifier import FewShotTableClassifier as FewShotTableClassifier
    from bmaml.evaluation.evaluate import evaluate as evaluate
    from bmaml.inference.svgd import svgd as svgd
    from bmaml.io.programs import keep_programs as keep_programs
    from bmaml.io.registry import register as register
    from bmaml.learners.predictor import Predictor as Predictor
    from bmaml.methods import Method as Method
    from bmaml.methods.citations import cite as cite
    from bmaml.training.callbacks import Callback as Callback
    from bmaml.training.callbacks import CallbackError as CallbackError
    from bmaml.training.early_stopping import EarlyStopping as EarlyStopping
    from bmaml.training.loop import NonFiniteError as NonFiniteError
    from bmaml.training.optimisers import Adam as Adam
    from bmaml.training.optimisers import CustomOuter as CustomOuter
    from bmaml.training.plan import Plan as Plan
    from bmaml.training.processes import distributed as distributed
    from bmaml.training.run import Interrupted as Interrupted
    from bmaml.training.run import Run as Run
    from bmaml.training.run import about as about
    from bmaml.training.run import load as load
    from bmaml.training.run import resume as resume
    from bmaml.training.run import train as train

    __version__: str

_PLACES = {
    "bmaml": ("images", "methods", "rl", "tasks"),
    "bmaml.data": ("Data", "Task"),
    "bmaml.errors": ("BmamlError", "InputError", "LostProcessError", "PairError"),
    "bmaml.estimators.classifier": ("FewShotClassifier",),
    "bmaml.estimators.regressor": ("FewShotRegressor",),
    "bmaml.estimators.table_classifier": ("FewShotTableClassifier",),
    "bmaml.evaluation.evaluate": ("evaluate",),
    "bmaml.inference.svgd": ("svgd",),
    "bmaml.io.programs": ("keep_programs",),
    "bmaml.io.registry": ("register",),
    "bmaml.learners.predictor": ("Predictor",),
    "bmaml.methods": ("Method",),
    "bmaml.methods.citations": ("cite",),
    "bmaml.training.callbacks": ("Callback", "CallbackError"),
    "bmaml.training.early_stopping": ("EarlyStopping",),
    "bmaml.training.loop": ("NonFiniteError",),
    "bmaml.training.optimisers": ("Adam", "CustomOuter"),
    "bmaml.training.plan": ("Plan",),
    "bmaml.training.processes": ("distributed",),
    "bmaml.training.run": ("Interrupted", "Run", "about", "load", "resume", "train"),
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names}

__all__ = sorted([*_MODULES, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Import what is asked for: a public name, a room, or the version."""
    if name == "__version__":
        from importlib.metadata import version

        value = version("bmaml")
    elif _MODULES.get(name, __name__) != __name__:
        value = getattr(importlib.import_module(_MODULES[name]), name)
    else:
        value = _room(name)
    globals()[name] = value
    return value


def _room(name: str) -> Any:
    """Return the module of that name in the package."""
    module = f"{__name__}.{name}"
    try:
        if not name.startswith("_"):
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
