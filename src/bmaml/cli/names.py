"""The names that help texts list. They are read from the tables, so a new row is listed at once."""

from __future__ import annotations

from collections.abc import Iterable

from bmaml.estimators.stacking import MIXTURES
from bmaml.likelihoods import FAMILIES as OUTCOMES
from bmaml.methods import METHODS, POLICY_METHODS
from bmaml.objectives import OBJECTIVES
from bmaml.rl.recipes import WORLDS
from bmaml.tasks import FAMILIES


def listed(names: Iterable[str], default: str | None = None) -> str:
    """Return `names` as a part of a sentence, with a mark on the `default`."""
    *most, last = [f"{name} (default)" if name == default else name for name in names]
    return f"{', '.join(most)} or {last}" if most else last


def _methods(outcome: str) -> list[str]:
    # The rows of installed packages are listed by name alone, because a package is imported only when its row is asked for.
    table = POLICY_METHODS if outcome == "policies" else METHODS
    return [*(row.name for row in table.known() if outcome in row.fits), *table.plugins()]


NUMBER_METHODS = listed(_methods("numbers"), "experts")
TABLE_METHODS = listed((*MIXTURES, *_methods("numbers")), "mixture")
CLASS_METHODS = listed(_methods("classes"), "protonet")
POLICY_NAMES = listed(_methods("policies"), "maml")
FAMILY_NAMES = listed(FAMILIES)
OUTCOME_NAMES = listed(OUTCOMES)
OBJECTIVE_NAMES = listed(OBJECTIVES)
WORLD_NAMES = listed(WORLDS)
PATHS = "or package.module:name of your own"
