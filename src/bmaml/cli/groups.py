"""Options in groups: a frozen dataclass stands for several options of a command, and for one section of its help text."""

from __future__ import annotations

import copy
import functools
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from math import isfinite
from typing import Annotated, Any, ClassVar, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import OptionInfo

from bmaml.cli.names import with_names
from bmaml.errors import InputError


@dataclass(frozen=True)
class OptionGroup:
    """Several options of a command as one value. A subclass is a frozen dataclass.

    Each field is an `Annotated[type, typer.Option(help=...)]` with a default. Its name is the name of its option, whatever the
    group. `TITLE` is the heading of the group's section of the help text.
    """

    TITLE: ClassVar[str]


# What Typer raises for wrong words on the command line. It is public only as the base of one of its classes.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


class CommandLine(TyperGroup):
    """All commands: the help text lists each with a whole sentence, and wrong words become an error of the library's own."""

    def make_context(self, *arguments, **options):
        """Read the words before the command's name, with Typer's `arguments` and `options`."""
        with _as_input_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx):
        """Read the words after the command's name and run the command. `ctx` is Click's."""
        with _as_input_errors(ctx):
            return super().invoke(ctx)

    def format_commands(self, ctx, formatter):
        """Write a line or more for each command, its first sentence uncut. `ctx` and `formatter` are Click's."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _first_sentence(command.help or "")) for name, command in self.commands.items()])


@contextmanager
def _as_input_errors(ctx: Any = None) -> Iterator[None]:
    """Turn Typer's errors about what was typed into an InputError of one sentence. `ctx` is Click's, and knows the command."""
    try:
        yield
    except _UsageError as error:
        # This one is no error: it is how Typer shows the help text if nothing is typed.
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        text = " ".join(error.format_message().split()).rstrip(".?")  # pyright: ignore[reportAttributeAccessIssue]
        said = re.sub(r"[.] ([A-Z])", lambda found: f"; {found[1].lower()}", text[:1].lower() + text[1:])
        command = " ".join(filter(None, ("bmaml", ctx and ctx.invoked_subcommand)))
        raise InputError(_wrong_number(error) or f"{said} (give what {command} --help lists).") from error


# What is asked for instead of a number that an option does not take, by Pydantic's name of the fault and its bound.
_ASKED = {
    "greater_than_equal": "{ge:g} or more",
    "greater_than": "more than {gt:g}",
    "less_than_equal": "{le:g} or less",
    "less_than": "less than {lt:g}",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
}


def _wrong_number(error: Any) -> str | None:
    """Return the sentence about a number that an option does not take, or None if the error is another."""
    faults = getattr(error.__cause__, "errors", list)()  # Pydantic's, by which newer versions of Typer read numbers.
    if len(faults) != 1 or faults[0]["type"] not in _ASKED:
        return None
    asked = _ASKED[faults[0]["type"]].format(**faults[0].get("ctx", {}))
    return f"{max(error.param.opts, key=len)} is {faults[0]['input']}: give {asked}."


def _first_sentence(text: str) -> str:
    words = " ".join(text.split("\n\n")[0].split())
    return words.split(". ")[0].rstrip(".") + "."


class GroupedCommand(TyperCommand):
    """A command whose help text has a section for each group of options, and ends with examples."""

    def format_epilog(self, ctx, formatter):
        """Write the examples, a line for each. `ctx` and `formatter` are Click's."""
        if self.epilog:
            with formatter.section("Examples" if "\n" in self.epilog else "Example"):
                formatter.write("".join(f"{' ' * formatter.current_indent}{line}\n" for line in self.epilog.splitlines()))

    def format_options(self, ctx, formatter):
        """Write the sections of the help text: arguments, the command's own options, then those of each group.

        `ctx` and `formatter` are Click's.
        """
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                title = "Arguments" if parameter.param_type_name == "argument" else "Options"
                said = record[0], with_names(record[1])
                sections.setdefault(getattr(parameter, "rich_help_panel", None) or title, []).append(said)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def add_command(app: typer.Typer, command: Callable[..., None], *examples: str, name: str | None = None) -> None:
    """Add `command`, whose parameters may be groups of options, to `app` under `name` (its own name by default).

    `examples` are lines to type, which the help text shows.
    """
    app.command(name, cls=GroupedCommand, epilog="\n".join(examples) or None)(flat(command))


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """Return the function that Typer reads and calls for `command`: each field of each `OptionGroup` is an option."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if isinstance(kind, type) and issubclass(kind, OptionGroup)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            parameters += _options(groups[name])
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name]))

    @functools.wraps(command)
    def called(**values: Any) -> None:
        for name, value in values.items():
            if isinstance(value, float) and not isfinite(value):  # No bound of an option keeps nan out.
                raise InputError(f"--{name.replace('_', '-')} is {value}: give a finite number.")
        grouped = {
            name: kind(**{field.name: values.pop(field.name) for field in fields(kind)}) for name, kind in groups.items()
        }
        command(**values, **grouped)

    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    called.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    return called


def _options(kind: type[OptionGroup]) -> list[inspect.Parameter]:
    """Return the parameters that stand for a group's fields."""
    hints = get_type_hints(kind, include_extras=True)
    found = []
    for field in fields(kind):
        hint = _under(hints[field.name], kind.TITLE)
        found.append(inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hint))
    return found


def _under(hint: Any, title: str) -> Any:
    """Return an option's annotation with its help text under a title."""
    if get_origin(hint) is not Annotated:
        return hint
    kind, *notes = get_args(hint)
    notes = [copy.copy(note) for note in notes]
    for note in notes:
        if isinstance(note, OptionInfo):
            note.rich_help_panel = title
    return Annotated[kind, *notes]


def given(group: OptionGroup) -> dict[str, object]:
    """Return the options of `group` that differ from their defaults, by their flags."""
    changed = {field.name: getattr(group, field.name) for field in fields(group) if getattr(group, field.name) != field.default}
    return {f"--{name.replace('_', '-')}": value for name, value in changed.items()}


def refuse(group: OptionGroup, why: str, *, only: tuple[str, ...] = ()) -> None:
    """Check that no option of `group` was given, or none of the flags in `only`.

    `why` says in the message why the option has no meaning here.
    Raises: InputError that names the first option that was given.
    """
    for flag, value in given(group).items():
        if not only or flag in only:
            shown = "given" if value is True else value
            raise InputError(f"{flag} is {shown} and {why}: leave it out.")
