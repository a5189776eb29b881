"""The labels of tasks: which rows are one task, and labels that may be meant as one."""

from __future__ import annotations

import warnings

import numpy as np

from bmaml.tables.table import Table, listed


def say_labels(table: Table, columns: tuple[str, ...]) -> None:
    """Warn of labels in the `columns` of `table` that are spellings of one label, and of labels that look alike and
    are not.
    """
    for name in columns:
        ways = [texts for texts in table.spellings(name).values()]
        if ways:
            warnings.warn(
                f"column {name!r} spells one label in several ways ({listed(ways[0])}): they are one task.", stacklevel=3
            )
        labels, alike = table.coded(name)[1], {}
        folded = [label.casefold().lstrip("0") for label in labels]
        # Where a table has a million tasks, a set is found sooner than lists.
        for key, label in zip(folded, labels, strict=True) if len(set(folded)) < len(folded) else ():
            alike.setdefault(key, []).append(label)
        near = next((labels for labels in alike.values() if len(labels) > 1), None)
        if near is not None:
            warnings.warn(
                f"column {name!r} has labels that look alike ({listed(near)}): they are different tasks.", stacklevel=3
            )


def task_codes(table: Table, columns: tuple[str, ...]) -> tuple[np.ndarray, list[str]]:
    """Return the task of each row of `table` as its place in the list of tasks, and this list in order of appearance.

    `columns` name a task, the outermost first. A nested task has the name "school / class".
    """
    codes, names = table.coded(columns[-1])
    for column in reversed(columns[:-1]):
        outer, labels = table.coded(column)
        # A slash within a label is doubled, so that different pairs have different names.
        pairs, codes = np.unique(np.stack([outer, codes], 1), axis=0, return_inverse=True)
        names = [f"{labels[a].replace('/', '//')} / {names[b]}" for a, b in pairs.tolist()]
        first = {code: place for place, code in enumerate(dict.fromkeys(codes.tolist()))}
        names = [names[code] for code in first]
        codes = np.array([first[code] for code in range(len(first))])[codes]
    return codes, names
