"""The labels of tasks: which rows are one task, and labels that may be meant as one."""

from __future__ import annotations

import warnings

import numpy as np
import pyarrow as pa

from bmaml.tables.cells import pc
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
        for label in labels if _may_look_alike(labels) else ():
            alike.setdefault(label.casefold().lstrip("0"), []).append(label)
        near = next((labels for labels in alike.values() if len(labels) > 1), None)
        if near is not None:
            warnings.warn(
                f"column {name!r} has labels that look alike ({listed(near)}): they are different tasks.", stacklevel=3
            )


def _may_look_alike(labels: list[str]) -> bool:
    """Return whether some `labels` may differ in case and zeros in front alone."""
    joined = "\n" + "\n".join(labels)
    if joined.isascii() and "\n0" not in joined and joined == joined.lower():
        return False
    # Of a million labels Arrow finds it sooner.
    texts = pa.array(labels, pa.large_string())
    folded = pc.utf8_ltrim(pc.utf8_lower(texts), "0")
    return pc.count_distinct(folded).as_py() < len(labels) or not pc.all(pc.string_is_ascii(texts)).as_py()


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
