"""The errors that the library raises on purpose: each message is a sentence for the user."""

from __future__ import annotations


class BmamlError(Exception):
    """An error whose message is a sentence for the user, and not a fault of the library.

    The command line prints the message and exits with code 2. Every other exception is a fault to report.
    """


class InputError(BmamlError, ValueError):
    """A value, a file, a column or an option that was given cannot be used."""


class PairError(BmamlError, TypeError):
    """Two parts that were given do not fit each other, such as a learner and an objective."""
