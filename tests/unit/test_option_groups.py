"""Options in groups: a dataclass of a command's signature is so many options, and a section of its help text."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import pytest
import typer
from typer.testing import CliRunner

from bmaml.cli import app as app_of_all
from bmaml.cli.groups import OptionGroup, add_command, given, refuse
from bmaml.errors import InputError

COMMANDS = typer.main.get_command(app_of_all).commands


@dataclass(frozen=True)
class Fruit(OptionGroup):
    """Two options."""

    TITLE: ClassVar[str] = "Of fruit"
    fruit_kind: Annotated[str | None, typer.Option("--fruit-kind", "--kind", help="Which.")] = None
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 1
    ripe: Annotated[bool, typer.Option("--ripe", help="Whether ripe.")] = False


@pytest.fixture
def app():
    """A command line of one command, which prints what it is called with."""
    made = typer.Typer(rich_markup_mode=None, add_completion=False)

    def buy(shop: Annotated[str, typer.Argument(help="Where.")], fruit: Fruit, *, fast: bool = False) -> None:
        """Buy."""
        typer.echo((shop, fruit, fast))

    made.callback()(lambda: None)
    add_command(made, buy)
    return made


@pytest.mark.parametrize(
    ("typed", "fruit"), [([], Fruit()), (["--kind", "fig", "--count", "3", "--ripe"], Fruit("fig", 3, True))]
)
def test_a_group_arrives_as_one_value(app, typed, fruit):
    done = CliRunner().invoke(app, ["buy", "here", *typed])
    assert done.output == f"{('here', fruit, False)}\n"


def test_a_group_is_a_section_of_the_help_text_and_its_bounds_hold(app):
    text = CliRunner().invoke(app, ["buy", "--help"]).output
    parts = [text.index(part) for part in ("Arguments:", "Options:", "--fast", "Of fruit:", "--kind", "--count", "--ripe")]
    assert parts == sorted(parts)
    assert CliRunner().invoke(app, ["buy", "here", "--count", "0"]).exit_code == 2


def test_what_was_typed_of_a_group_that_has_no_meaning_is_refused_by_its_flag():
    assert given(Fruit()) == {}
    assert given(Fruit(fruit_kind="fig", ripe=True)) == {"--fruit-kind": "fig", "--ripe": True}
    refuse(Fruit(), "there is no fruit")
    refuse(Fruit(count=2), "there is no fruit", only=("--ripe",))
    with pytest.raises(InputError, match=r"^--ripe is given and there is no fruit: leave it out\.$"):
        refuse(Fruit(count=2, ripe=True), "there is no fruit", only=("--ripe",))


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_a_help_text_fits_a_terminal_and_cuts_no_sentence(name):
    text = CliRunner().invoke(app_of_all, [*([name] if name else []), "--help"], env={"COLUMNS": "80"}).output
    assert name or "..." not in text.replace("[ARGS]...", "")
    assert max(len(line) for line in text.splitlines()) <= 80
    assert name == "" or f"  bmaml {name}" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_a_help_text_can_be_typed(name):
    for line in COMMANDS[name].epilog.splitlines():
        program, command, *words = line.split()
        assert (program, command) == ("bmaml", name)
        assert COMMANDS[name].make_context(name, words).params


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("trian", "no such command 'trian'; did you mean 'train'"),
        ("train sinusoid", "missing option '--out' (give what bmaml train --help lists)"),
        ("train sinusoid --out x --step 3", "no such option: --step"),
        ("train sinusoid --out", "option '--out' requires an argument (give what bmaml train --help lists)"),
        ("train sinusoid --out x --steps 1e9", "--steps is 1e9: give a whole number."),
        ("evaluate x --count 0", "--count is 0: give 2 or more."),
        ("leaderboard sinusoid --out x --test-share 2", "--test-share is 2: give 0.9 or less."),
        ("leaderboard sinusoid --out x --test-share half", "--test-share is half: give a number."),
        ("figure paths --out x --runs ,", "--runs is ',' and names nothing"),
        ("evaluate x y", "unexpected extra argument"),
        ("--bug", "no such option"),
    ],
)
def test_wrong_words_are_one_sentence(typed, says, refused):
    assert says in refused(*typed.split())
