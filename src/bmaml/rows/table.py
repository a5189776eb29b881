"""A table of named rows that programs and installed packages can add to."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from bmaml.errors import InputError
from bmaml.rows.by_path import check_path, imported, is_path, said
from bmaml.rows.lookup import pick

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@runtime_checkable
class Named(Protocol):
    """A row of a table. It has a name."""

    @property
    def made_by(self) -> Any:
        """The class or function that makes what the row names."""
        ...

    @property
    def name(self) -> str:
        """The name, in lower case with hyphens, such as "meta-sgd"."""
        ...


Row = TypeVar("Row", bound=Named)


class PluginWarning(UserWarning):
    """A row of an installed package cannot be used. Everything else can."""


class Rows(Mapping[str, Row], Generic[Row]):
    """Rows by name, in order: the library's own, then those that a program added, then those of installed packages.

    A package is imported when its row is asked for, and not before.

    - `kind`: what a row is, for messages.
    - `group`: the group of entry points in which a package lists its rows. The name of the entry point is the row's name.
    - `as_row`: makes a row from a name and from what an entry point or a path leads to. It raises InputError if that is no row.
    - `rows`: the library's own.
    - `filled_by`: name of a module that adds the library's own rows instead. It is imported when the table is first asked.
    """

    def __init__(
        self, kind: str, group: str, as_row: Callable[[str, Any], Row], rows: Iterable[Row] = (), filled_by: str | None = None
    ):
        self.kind, self.group, self._as_row, self._filled_by = kind, group, as_row, filled_by
        self._found: dict[str, Row] = {}
        for row in rows:
            self.add(row)

    @property
    def _rows(self) -> dict[str, Row]:
        """The rows that need no import of a package."""
        if self._filled_by is not None:
            # Without this, what the table holds would depend on which other modules a program has imported.
            module, self._filled_by = self._filled_by, None
            import_module(module)
        return self._found

    def add(self, row: Row) -> Row:
        """Add `row` and return it.

        Raises: InputError for a name that is taken, or that is not lower case with hyphens.
        """
        if not _NAME.fullmatch(row.name):
            raise InputError(
                f"the {self.kind} {row.name!r} has a name that cannot be typed with ease: use lower-case letters, digits and "
                "single hyphens."
            )
        if row.name in self._rows:
            raise InputError(f"there is a {self.kind} {row.name!r} already: give the new one another name.")
        self._rows[row.name] = row
        return row

    def remove(self, name: str) -> None:
        """Remove the row `name`."""
        del self._rows[name]

    def __getitem__(self, name: str) -> Row:
        """Return the row of that name.

        Raises: KeyError for an unknown name; InputError for a row of an installed package that cannot be used.
        """
        if name not in self._rows:
            self._rows[name] = self._load(self._plugins()[name])
        return self._rows[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is a row of that name, usable or not."""
        return name in self._rows or name in self._plugins()

    def __iter__(self) -> Iterator[str]:
        """Go over the names; no package is imported."""
        yield from dict.fromkeys([*self._rows, *self._plugins()])

    def __len__(self) -> int:
        """Number of names."""
        return len(list(iter(self)))

    def find(self, name: str) -> Row:
        """Return the row `name`.

        Raises: InputError with the nearest name and all names, if there is no such row, or if its package cannot be used.
        """
        return pick(self.kind, name, self)

    def typed(self, text: str) -> Row:
        """Return the row that a user typed as `text`: a name, or `package.module:name` of an object outside the table.

        Call this only with what a user typed, never with what a file says: a path runs the module's code.
        Raises: InputError in the cases of `find`, and for a path that leads to nothing that can be a row.
        """
        if text in self._rows or not is_path(text):
            check_path(text)
            return self.find(text)
        found = imported(text)
        # The module may have added a row for it, which says more than the object does.
        known = next((row for row in self._rows.values() if row is found or row.made_by is found), None)
        if known is None:
            self._rows[text] = known = self._as_row(text, found)
        return known

    def known(self) -> list[Row]:
        """Return the rows that need no import of a package: the library's own, and those that were added or asked for
        before.
        """
        return list(self._rows.values())

    def plugins(self) -> list[str]:
        """Return the names that only installed packages have and that were never asked for."""
        return [name for name in self._plugins() if name not in self._rows]

    def usable(self) -> list[Row]:
        """Return all rows, including those of installed packages.

        A row that cannot be used is left out, with a `PluginWarning` of one sentence.
        """
        rows = []
        for name in self:
            try:
                rows.append(self[name])
            except InputError as error:
                warnings.warn(str(error), PluginWarning, stacklevel=2)
        return rows

    def _plugins(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}

    def _load(self, point: EntryPoint) -> Row:
        package = point.dist.name if point.dist else point.module
        try:
            row = self._as_row(point.name, point.load())
        except Exception as error:
            raise InputError(
                f"the {self.kind} {point.name!r} of the package {package} cannot be used ({said(error)}): update the package "
                "or uninstall it."
            ) from error
        if row.name != point.name:
            raise InputError(
                f"the {self.kind} {point.name!r} of the package {package} calls itself {row.name!r}: give the entry point and "
                "the row the same name."
            )
        return row
