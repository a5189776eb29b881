"""The command line, `bmaml`: its commands, and how an error becomes one sentence."""

from __future__ import annotations

import sys

import typer

from bmaml.cli import compare, demo, figure, leaderboard
from bmaml.cli import evaluate as scores
from bmaml.cli import fit as table
from bmaml.cli import train as training

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Bayesian meta-learning: learn a prior from many small data sets, adapt to a new one from a handful of points.",
)
for module in (training, scores, figure, compare, leaderboard, table, demo):
    module.add(app)


_STOPPED = "stopped by Ctrl-C before there was anything to keep; nothing was written over."


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 with one sentence on wrong input, 130 stopped by Ctrl-C with a checkpoint."""
    from bmaml.errors import InputError
    from bmaml.training.loop import NonFiniteError

    try:
        code = app(arguments, standalone_mode=True)
    except (InputError, NonFiniteError) as error:
        _fail(str(error))
    except (ValueError, TypeError) as error:
        if not _said_here(error):
            raise
        _fail(str(error))
    except KeyboardInterrupt:
        _fail(_STOPPED)
    except SystemExit as stop:
        # Typer turns Ctrl-C into a silent exit of its own.
        if isinstance(getattr(stop.__context__, "__cause__", None), KeyboardInterrupt):
            _fail(_STOPPED)
        raise
    except MemoryError:
        _fail("out of memory: lower --particles, --batch or --queries.")
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}.")
    else:
        sys.exit(code or 0)


def _said_here(error: Exception) -> bool:
    """Return whether the library itself raised an error, so that its message is a sentence about what was given."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("bmaml.")


def _fail(sentence: str) -> None:
    sys.stderr.write(f"bmaml: {sentence}\n")
    sys.exit(2)


__all__ = ["app", "main"]
