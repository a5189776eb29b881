"""Objects whose arrays lie in the user's files. A saved run names these files instead of copying them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import equinox as eqx


class AbstractReference(eqx.Module):
    """Says where an object comes from, in fields that JSON can hold."""

    @abstractmethod
    def read(self) -> Any:
        """Return the same object that was saved.

        Raises: InputError if the files are gone or have other content.
        """


class AbstractReferenced(eqx.Module):
    """An object that may be read again. It is saved as its reference if it has one, else as its fields."""

    @property
    @abstractmethod
    def reference(self) -> AbstractReference | None:
        """Where the object can be read again, or None if it was made in memory."""
