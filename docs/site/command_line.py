"""The page of the command line, from the help texts that the commands print."""

import os
from contextlib import contextmanager

import typer

from bmaml.cli import app

HEAD = """# The command line

Each command prints its text with `--help`. Wrong input ends with one sentence and exit code 2, and no command overwrites a file
of yours. `bmaml --import MODULE COMMAND` loads classes of your own first.
"""
WIDTH = 100


def page():
    """Return the page: a section for each command."""
    with terminal(WIDTH):
        root = typer.main.get_command(app)
        whole = typer.Context(root, info_name="bmaml", terminal_width=WIDTH, max_content_width=WIDTH)
        sections = [section(f"bmaml {name}", shown(command, name, whole)) for name, command in root.commands.items()]
        return HEAD + section("bmaml", root.get_help(whole)) + "".join(sections)


@contextmanager
def terminal(width):
    """Let the terminal be so wide meanwhile, and as wide as before afterwards."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(width)
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def shown(command, name, parent):
    """Return a command's help text."""
    inner = typer.Context(command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH)
    return command.get_help(inner)


def section(title, text):
    """Return a section with a help text."""
    return f"\n## `{title}`\n\n```text\n{text.strip()}\n```\n"
