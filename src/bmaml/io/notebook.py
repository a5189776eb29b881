"""How a notebook shows an object: a title and a small table. Names come from users, so every text is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import jax


def facts_html(title: str, facts: Mapping[str, object]) -> str:
    """Return HTML with a `title`, and a line for each of the `facts` about it. A fact that is None is left out."""
    known = [(name, value) for name, value in facts.items() if value is not None]
    cells = [f"<th {_LEFT}>{escape(str(name))}</th><td {_LEFT}>{escape(str(value))}</td>" for name, value in known]
    rows = "".join(f"<tr>{cell}</tr>" for cell in cells)
    return f"<div><strong>{escape(title)}</strong><table>{rows}</table></div>"


def grid_html(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return HTML with a `title` and a table of texts: a `header` and `rows`."""
    head = "".join(f"<th {_LEFT}>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td {_LEFT}>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div><strong>{escape(title)}</strong><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def shapes(module: object) -> dict[str, str]:
    """Return the fields of a dataclass `module`, each as the shape of its array, the numbers of its arrays, or its text."""
    return {name: _short(value) for name, value in vars(module).items() if not name.startswith("_")}


_LEFT = 'style="text-align: left"'
_MOST = 80


def _short(value: Any) -> str:
    if isinstance(value, jax.Array) or hasattr(value, "__array__"):
        return f"array of shape {tuple(getattr(value, 'shape', ()))}"
    leaves = [leaf for leaf in jax.tree.leaves(value) if hasattr(leaf, "shape")]
    if leaves:
        count = sum(int(leaf.size) for leaf in leaves)
        return f"{type(value).__name__}: {count:,} numbers in {len(leaves)} array{'s' * (len(leaves) > 1)}"
    text = " ".join(str(value).split())
    return text if len(text) <= _MOST else f"{text[: _MOST - 1]}…"
