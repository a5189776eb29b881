"""The names that help texts list. They are read from the tables, so a new row is listed at once.

A help text holds a mark in the place of the names, because reading the tables imports JAX. `with_names` puts the names there
when the text is shown, so that `bmaml --help` and the start of a command do not wait for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

NUMBER_METHODS, TABLE_METHODS, CLASS_METHODS = "«methods of numbers»", "«methods of tables»", "«methods of classes»"
POLICY_NAMES, FAMILY_NAMES, OUTCOME_NAMES = "«methods of policies»", "«families»", "«outcomes»"
OBJECTIVE_NAMES, WORLD_NAMES = "«objectives»", "«worlds»"
PATHS = "or package.module:name of your own"
_MARK = re.compile("«[a-z ]+»")


def with_names(text: str) -> str:
    """Return the help `text` with the names that its marks stand for."""
    return _MARK.sub(lambda found: _LISTS[found[0]](), text)


def listed(names: Iterable[str], default: str | None = None) -> str:
    """Return `names` as a part of a sentence, with a mark on the `default`."""
    *most, last = [f"{name} (default)" if name == default else name for name in names]
    return f"{', '.join(most)} or {last}" if most else last


def _methods(outcome: str) -> list[str]:
    from bmaml.methods import METHODS, POLICY_METHODS

    # The rows of installed packages are listed by name alone, because a package is imported only when its row is asked for.
    table = POLICY_METHODS if outcome == "policies" else METHODS
    return [*(row.name for row in table.known() if outcome in row.fits), *table.plugins()]


def _table_methods() -> str:
    from bmaml.estimators.stacking import MIXTURES

    return listed((*MIXTURES, *_methods("numbers")), "mixture")


def _families() -> str:
    from bmaml.tasks import FAMILIES

    return listed(FAMILIES)


def _outcomes() -> str:
    from bmaml.likelihoods import FAMILIES

    return listed(FAMILIES)


def _objectives() -> str:
    from bmaml.objectives import OBJECTIVES

    return listed(OBJECTIVES)


def _worlds() -> str:
    from bmaml.rl.recipes import WORLDS

    return listed(WORLDS)


_LISTS: dict[str, Callable[[], str]] = {
    NUMBER_METHODS: lambda: listed(_methods("numbers"), "experts"),
    TABLE_METHODS: _table_methods,
    CLASS_METHODS: lambda: listed(_methods("classes"), "protonet"),
    POLICY_NAMES: lambda: listed(_methods("policies"), "maml"),
    FAMILY_NAMES: _families,
    OUTCOME_NAMES: _outcomes,
    OBJECTIVE_NAMES: _objectives,
    WORLD_NAMES: _worlds,
}
