"""The errors that the library raises on purpose: each message is a sentence for the user."""

from __future__ import annotations

from collections.abc import Sequence


class BmamlError(Exception):
    """An error whose message is a sentence for the user, and not a fault of the library.

    The command line prints the message and exits with code 2. Every other exception is a fault to report.

    - `message`: the sentence, in the words of a Python program.
    - `typed`: the sentence in the words of the command line, if it names options or commands (None: the same words).
    """

    def __init__(self, message: str = "", *, typed: str | None = None):
        super().__init__(message)
        self.typed = message if typed is None else typed


class InputError(BmamlError, ValueError):
    """A value, a file, a column or an option that was given cannot be used."""


class NoRoomError(InputError):
    """A program needs more memory than is free.

    - `message`: the sentence, in the words of a Python program.
    - `room`: how much is needed and free.
    - `options`: names of the command line's options that change it, the strongest first.
    """

    def __init__(self, message: str = "", *, room: str = "", options: tuple[str, ...] = ()):
        super().__init__(message)
        self.room, self.options = room or message, options
        self.typed = self.said(options)

    def said(self, options: Sequence[str]) -> str:
        """Return the sentence in the words of a command that has these `options`."""
        return f"{self.room}: give {in_a_row([f'--{name}' for name in options])} a smaller value." if options else f"{self}"


class PairError(BmamlError, TypeError):
    """Two parts that were given do not fit each other, such as a learner and an objective."""


class LostProcessError(BmamlError, RuntimeError):
    """Another process of the same training ended or cannot be reached. The last checkpoint is whole."""


def in_a_row(words: Sequence[str]) -> str:
    """Return `words` as people list them: a, b or c."""
    return " or ".join([*([", ".join(words[:-1])] if len(words) > 1 else []), *words[-1:]])


def said(given: object) -> str:
    """Return the wrong value `given` in a few words, for a message: a number or text as it is, anything else by its kind."""
    if isinstance(given, type):
        return f"the class {given.__name__}, not an object of it"
    if given is None or isinstance(given, str | int | float):
        return repr(given)
    if callable(given) and hasattr(given, "__name__"):
        return f"the function {given.__name__}, not what it returns"
    return f"a {type(given).__name__}"


def first_sentence(error: Exception) -> str:
    """Return the first sentence of an error's message without its full stop, or the error's class if it has no message.

    - `error`: any error. Later Pythons add guesses ("Did you mean ...?") and JAX adds paragraphs.
    """
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].split(". ")[0].rstrip(".")
