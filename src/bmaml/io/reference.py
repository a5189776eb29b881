"""Objects whose arrays lie in files of the user's: a saved run names the files instead of copying them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import equinox as eqx


class AbstractReference(eqx.Module):
    """Says where an object comes from, in fields that JSON can hold."""

    @abstractmethod
    def read(self) -> Any:
        """Return the very object that was saved.

        Raises: InputError where the files are gone or hold other content than they did.
        """


class AbstractReferenced(eqx.Module):
    """An object that may be read again: it is saved as its reference where it has one, else as its fields."""

    @property
    @abstractmethod
    def reference(self) -> AbstractReference | None:
        """Where the object can be read again; None where it was made in memory."""
