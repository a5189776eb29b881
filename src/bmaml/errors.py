"""The error of everything that comes from outside: files, columns, options."""

from __future__ import annotations


class InputError(ValueError):
    """What was given cannot be used; the message is one sentence: what is wrong, where, and what would be right.

    The command line prints it and exits with code 2.
    """
