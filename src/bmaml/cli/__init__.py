"""The command line, `bmaml`: its commands, and how an error becomes one sentence.

A command parses its options, calls the library and prints the result. No mathematics belongs here. A new command is one
file with an `add` function, and one entry in the list of modules below. Wrong input ends with one sentence on stderr
and exit code 2. Output files of a user are never overwritten.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bmaml.cli import cache, cite, compare, demo, explore, figure, leaderboard, lecture
from bmaml.cli import evaluate as scores
from bmaml.cli import fit as table
from bmaml.cli import report as reports
from bmaml.cli import train as training
from bmaml.cli.groups import CommandLine
from bmaml.cli.options import TYPED

if TYPE_CHECKING:
    from bmaml.errors import BmamlError

app = typer.Typer(
    cls=CommandLine,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Bayesian meta-learning: learn a prior from many small data sets, adapt to a new one from a handful of points.",
)
for module in (training, scores, figure, compare, leaderboard, table, reports, explore, cache, cite, lecture, demo):
    module.add(app)


_STOPPED = "stopped by Ctrl-C before there was anything to keep; nothing was written over."
# Options that take memory, of any command.
_SIZES = ("batch", "particles", "inner-steps", "queries", "trajectories", "shots", "rows", "way", "size", "filters")
_DEBUG: ContextVar[bool] = ContextVar("debug", default=False)


def _print_version(wanted: bool) -> bool:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("bmaml"))
        raise typer.Exit
    return wanted


@app.callback()
def settings(
    debug: Annotated[bool, typer.Option("--debug", help="Also show an error's traceback.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    modules: Annotated[
        list[str] | None, typer.Option("--import", help="Module of your own to import first, whose classes a run may hold.")
    ] = None,
) -> None:
    """Read the options before the name of a command: whether to `debug`, and whether to print the `version`."""
    from bmaml.rows import import_module

    _DEBUG.set(debug)
    for module in modules or ():
        import_module(module)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line with `arguments` (those of the process by default) and exit.

    The exit codes are 0 for success, 2 with one sentence for wrong input, and 1 with one sentence for a fault of the library.
    130 is for a training that Ctrl-C stopped with a checkpoint, and 3 for one of several processes that lost another. `--debug`
    before the command's name also prints the traceback.
    """
    from bmaml.errors import BmamlError, LostProcessError

    _DEBUG.set(False)
    if arguments is None:
        # Tracing a program makes very many small objects, few of them in circles.
        gc.set_threshold(1_000_000, 50, 100)
        _keep_programs()
    TYPED.set(shlex.join(["bmaml", *(sys.argv[1:] if arguments is None else arguments)]))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # A file's name may hold what is no text.
    try:
        with _plain_warnings():
            code = app(arguments, standalone_mode=True)
    except LostProcessError as error:
        _fail(error.typed, 3)
    except BmamlError as error:
        _fail(_typed(error))
    except KeyboardInterrupt as stop:
        _stop(stop)
    except SystemExit as ended:
        # Typer turns Ctrl-C into a silent exit of its own.
        stop = getattr(ended.__context__, "__cause__", None)
        if isinstance(stop, KeyboardInterrupt):
            _stop(stop)
        raise
    except MemoryError:
        _fail(_no_memory())
    except OSError as error:
        _fail(_of_the_system(error))
    except Exception as error:
        # XLA raises its own error when a device has no memory left.
        if "RESOURCE_EXHAUSTED" in str(error):
            _fail(_no_memory())
        _fail(_unforeseen(error), 1)
    else:
        sys.exit(code or 0)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Say what the library warns of in one sentence, without the place in the code."""
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any, **options: Any) -> None:
        if issubclass(category, UserWarning):
            sys.stderr.write(f"bmaml: note: {message}\n")
        else:
            before(message, category, *rest, **options)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


def _keep_programs() -> None:
    """Keep compiled programs for the next command. A command that a program calls leaves that to the program."""
    from bmaml.errors import InputError
    from bmaml.io.programs import keep_programs

    try:
        keep_programs()
    except InputError as error:
        sys.stderr.write(f"bmaml: note: {error}\n")


def _stop(stop: KeyboardInterrupt) -> None:
    """Say where a stopped training can be resumed, and exit."""
    from bmaml.training.run import Interrupted

    if not isinstance(stop, Interrupted) or stop.directory is None:
        _fail(str(stop) or _STOPPED)  # What stops a fit or a training says what is left of it.
        return
    run = stop.run
    sys.stderr.write(f"stopped at meta-step {run.step} of {run.steps}; go on with: bmaml resume {stop.directory}\n")
    sys.exit(130)


def _own_options() -> list[str]:
    """Return the names of the options of the command that was typed."""
    commands = getattr(typer.main.get_command(app), "commands", {})
    name = next((word for word in shlex.split(TYPED.get()) if word in commands), None)
    return [] if name is None else [option.removeprefix("--") for param in commands[name].params for option in param.opts]


def _typed(error: BmamlError) -> str:
    """Return the sentence of an error. Of too little memory, it names options that the command has."""
    from bmaml.errors import NoRoomError

    if not isinstance(error, NoRoomError):
        return error.typed
    own = _own_options()
    return error.said([name for name in error.options if name in own] or [name for name in _SIZES if name in own])


def _no_memory() -> str:
    from bmaml.errors import NoRoomError

    return _typed(NoRoomError("out of memory: give less at a time.", room="out of memory"))


def _of_the_system(error: OSError) -> str:
    """Return the sentence about an error of the operating system, such as a full disk."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    what = "free some space, or give another place" if full else "check the place and its permissions"
    return f"{error.filename or 'a file'} cannot be read or written ({error.strerror or error}): {what}."


def _unforeseen(error: Exception) -> str:
    """Return the sentence about an error that the library does not raise on purpose."""
    text = " ".join(str(error).split())
    shown = f"{type(error).__name__}{f': {text[:200]}' if text else ''}"
    return (
        f"an error that was not foreseen ({shown}), which is a fault of bmaml unless code of yours raised it: "
        "give --debug before the command to see where, and report what that prints."
    )


def _fail(sentence: str, code: int = 2) -> None:
    """Print one sentence, after the traceback if it was asked for, and exit."""
    if _DEBUG.get():
        traceback.print_exc()
    sys.stderr.write(f"bmaml: {sentence}\n")
    jax = sys.modules.get("jax")  # Most wrong words end before anything has imported it.
    if jax is not None and jax.distributed.is_initialized():
        # An ordinary exit would wait for the other processes, and JAX would then abort with a trace of its own.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


__all__ = ["app", "main"]
