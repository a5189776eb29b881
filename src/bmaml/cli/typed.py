"""What a user typed as a task family or a method: a name, or `package.module:name` for the user's own code.

A path is followed only here, where a user typed it on the command line, and never where a file says it.
"""

from __future__ import annotations

import inspect
from typing import Any

from bmaml.errors import InputError, said
from bmaml.learners.base import AbstractLearner
from bmaml.methods import METHODS, POLICY_METHODS
from bmaml.objectives import OBJECTIVES
from bmaml.rl import AbstractWorld
from bmaml.rl.recipes import WORLDS, WorldSpec
from bmaml.rows import check_path, imported, is_path, pick
from bmaml.tasks import FAMILIES, AbstractTasks, TaskSpec
from bmaml.tasks.base import AbstractSource
from bmaml.training.method import AbstractMethod


def typed_family(text: str) -> str:
    """Return the name of the task family, or family of environments, in `text`. What a path leads to is added under the path.

    Raises: InputError if a path leads to no family.
    """
    if not is_path(text) or text in FAMILIES or text in WORLDS:
        check_path(text)
        if text not in FAMILIES and text not in WORLDS:
            pick("task family or environment", text, dict.fromkeys([*FAMILIES, *WORLDS]))
        return text
    table: Any = WORLDS if _is_world(text, imported(text)) else FAMILIES
    return table.typed(text).name


def _is_world(text: str, found: Any) -> bool:
    if isinstance(found, AbstractTasks | TaskSpec):
        return False
    if isinstance(found, AbstractWorld | WorldSpec) or (inspect.isclass(found) and issubclass(found, AbstractWorld)):
        return True
    wrong_class = inspect.isclass(found) and not issubclass(found, AbstractSource)
    if wrong_class or not callable(found) or isinstance(found, AbstractMethod | AbstractLearner):
        raise InputError(f"{text} is {said(found)}, and no source of tasks: give a source, or what makes one.")
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise InputError(f"{text} cannot be called without arguments ({error}): give a function that needs none.") from error
    made = found()
    if not isinstance(made, AbstractSource):
        raise InputError(f"{text} returns {said(made)}, and no source of tasks: give a function that returns a source.")
    return isinstance(made, AbstractWorld)


def typed_method(text: str, *, policies: bool = False) -> str:
    """Return the name of the method in `text`. What a path leads to is added under the path.

    `policies` says that the method must be one for policies.
    Raises: InputError for an unknown name, or a path that leads to no method.
    """
    return (POLICY_METHODS if policies else METHODS).typed(text).name


def typed_objective(text: str) -> str:
    """Return the name of the objective in `text`. What a path leads to is added under the path.

    Raises: InputError for an unknown name, or a path that leads to no objective.
    """
    return OBJECTIVES.typed(text).name
