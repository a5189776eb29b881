"""`bmaml predict`, `bmaml suggest` and `bmaml recalibrate`: what a fitted model says about new tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from bmaml.cli.groups import OptionGroup, given, refuse
from bmaml.cli.option_groups import NewTables
from bmaml.cli.options import changes, check_options, must_be_a_csv, must_be_new, must_be_writable, whole_numbers
from bmaml.errors import InputError

if TYPE_CHECKING:
    from bmaml.estimators.regressor import FewShotRegressor
    from bmaml.tables.new import NewRows


class Acquisition(StrEnum):
    """What makes a row worth measuring."""

    variance = "variance"
    information = "information"
    reduction = "reduction"
    random = "random"
    improvement = "improvement"
    log_improvement = "log-improvement"
    bound = "bound"


class Goal(StrEnum):
    """Which values of an outcome are wanted."""

    max = "max"
    min = "min"


Model = Annotated[Path, typer.Argument(help="Folder that `bmaml fit` wrote.")]


New = Annotated[Path, typer.Argument(help="Rows of new tasks; an empty outcome is a row to predict.")]


def recalibrate(
    model: Model,
    further: Annotated[
        Path,
        typer.Argument(help="Further tasks, all measured, or images of further classes; at least 10, not fitted on."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the changed model; the model itself stays as it is.")],
    written: NewTables,
    shots: Annotated[
        str | None,
        typer.Option("--shots", "--shot", help="Numbers of given rows (images of a class) to look at errors after, as 2,5."),
    ] = None,
) -> None:
    """Make a model as sure as it is right, according to its errors on further tasks or classes.

    Use it if new tasks are of another kind than the fitted ones, or if those were few. The means of a table's model stay, and
    its 90% intervals then hold 90% of the targets of such tasks. A classifier's answers mostly stay, and their probabilities
    are then right as often as they say.
    """
    from bmaml.cli import on_images
    from bmaml.cli.output import plain_warnings
    from bmaml.io.aligned import aligned
    from bmaml.training.run import about

    must_be_new(out)
    if about(model).get("kind") == "FewShotClassifier":
        refuse(written, f"{model} is of images")
        on_images.recalibrate(model, further, out, whole_numbers(shots, "--shots"))
        return
    counts = whole_numbers(shots, "--shots", 0)
    fitted = _loaded(model)
    with plain_warnings():
        fitted.recalibrate(written.read(further), shots=counts)
    fitted.save(out)
    lines = [[given, held, by, f"{tails:g}"] for given, held, by, tails in changes(fitted.run_.meta.change)]
    typer.echo(aligned([["given", "90% interval held", "stretched by (95% interval)", "tails (1/df) added"], *lines]))
    typer.echo(f"\nsaved in {out}")


@dataclass(frozen=True)
class TableAnswers(OptionGroup):
    """How rows of a table are answered."""

    TITLE: ClassVar[str] = "For a table"
    at: Annotated[Path | None, typer.Option(help="Rows to predict for every task, instead of those with an empty outcome.")] = (
        None
    )
    level: Annotated[float, typer.Option(help="Share of measurements that the interval should hold.")] = 0.9
    plot: Annotated[
        Path | None, typer.Option(help="PNG of the prediction over the one number, date or time that changes within a task.")
    ] = None


@dataclass(frozen=True)
class ImageAnswers(OptionGroup):
    """How images are answered."""

    TITLE: ClassVar[str] = "For images"
    support: Annotated[Path | None, typer.Option(help="Folder or zip with a folder for each new class.")] = None
    query: Annotated[Path | None, typer.Option(help="Folder or zip of images to classify.")] = None
    abstain_below: Annotated[
        float | None, typer.Option(help="Abstain below this confidence (default: where held-out answers were 95% right).")
    ] = None


def predict(
    model: Model,
    tables: TableAnswers,
    images: ImageAnswers,
    written: NewTables,
    new: Annotated[
        Path | None, typer.Argument(help="For a table: rows of new tasks; an empty outcome is a row to predict.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV to write (default: standard output).")] = None,
) -> None:
    """Predict the unmeasured rows of a table from the measured ones, or the classes of images from a few images of each.

    For a table: mean, deviation and interval of each output. For images: the most likely class, whether to abstain, and the
    probability of each class.
    """
    from bmaml.cli import on_images
    from bmaml.cli import output as answers
    from bmaml.training.run import about

    if given(images) or about(model).get("kind") == "FewShotClassifier":
        refuse(tables, f"{model} is of images")
        refuse(written, f"{model} is of images")
        if new is not None:
            raise InputError(f"{new} is a table and {model} is of images: give --support and --query.")
        on_images.predict(model, images.support, images.query, images.abstain_below, out)
        return
    if new is None:
        raise InputError("the rows to predict are missing: give the file of the new tasks after the model.")
    check_options(tables.level, tables.plot)
    must_be_a_csv(out)
    must_be_writable(tables.plot)
    with answers.plain_warnings():
        fitted, rows = _opened(model, new, tables.at, written)
        if tables.plot is not None:
            from bmaml.plots.prediction import drawn_input

            drawn_input(fitted, rows)  # Refused before anything is computed.

        def content() -> Iterator[str]:
            yield from answers.predictions(fitted, rows, tables.level)
            if tables.plot is not None:  # Before the table has its name, so that both are there or none.
                answers.write_picture(fitted, rows, tables.level, tables.plot)

        answers.write(content(), out)


@dataclass(frozen=True)
class Decisions(OptionGroup):
    """What is to be reached, where measurements do not only serve to learn."""

    TITLE: ClassVar[str] = "To decide"
    goal: Annotated[Goal | None, typer.Option(help="Find large or small values of the outcome.")] = None
    target: Annotated[float | None, typer.Option(help="Find the rows whose outcome comes nearest to this value.")] = None
    of: Annotated[str | None, typer.Option(help="The outcome with the goal or the target, if there are several.")] = None
    limit: Annotated[str | None, typer.Option(help="What outcomes must keep, such as tox<=3,conc>=1.")] = None
    cost: Annotated[str | None, typer.Option(help="Column with what a measurement costs; worth is divided by it.")] = None
    outside: Annotated[bool, typer.Option("--outside", help="Allow rows outside of the range fitted on.")] = False


def suggest(
    model: Model,
    new: New,
    decisions: Decisions,
    written: NewTables,
    pool: Annotated[
        Path | None, typer.Option(help="Rows that could be measured (default: those with an empty outcome).")
    ] = None,
    n: Annotated[int, typer.Option(min=1, help="How many rows to suggest for each task.")] = 1,
    by: Annotated[
        Acquisition | None,
        typer.Option(
            help="To learn: variance (the least sure prediction, the default), information, reduction (makes all rows surest) "
            "or random. To decide: improvement (the default with a goal or a target), log-improvement or bound."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="CSV to write (default: standard output).")] = None,
) -> None:
    """List the rows of a pool that are most worth measuring next, for every task, the best first.

    Without a goal these rows tell most. With --goal or --target they are those that probably come nearest to what is wanted,
    and several are chosen together. Rows outside of the range that the model was fitted on are passed over.
    """
    from bmaml.cli import output as answers
    from bmaml.estimators.suggestions import Wish, as_limits

    must_be_a_csv(out)
    kind: Any = None if by is None else by.value
    goal: Any = None if decisions.goal is None else decisions.goal.value
    limits = as_limits(decisions.limit, "--limit")
    wish = Wish(kind, goal, decisions.target, decisions.of, decisions.cost, limits, decisions.outside)
    with answers.plain_warnings():
        fitted, rows = _opened(model, new, pool, written)
        # A task without an open row has nothing to suggest, as it has nothing to predict.
        tasks = [rows.one(place) for place in rows.asked_counts.nonzero()[0].tolist()]
        content = answers.suggestions(fitted, tasks, n, wish)
    answers.write([content], out)


def describe(
    model: Model,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a model of a table has learned: means, how tasks differ, how rows scatter, and what each input does."""
    import json

    learned = _loaded(model).describe()
    typer.echo(json.dumps(learned.to_json(), indent=1) if as_json else "\n".join(learned.lines()))


def _loaded(model: Path) -> FewShotRegressor:
    """Return the model.

    Raises: InputError for a model that is not trained to the end.
    """
    from bmaml.estimators.regressor import FewShotRegressor

    fitted = FewShotRegressor.load(model)
    run = fitted.run_
    if not run.finished:
        raise InputError(f"{model} stopped at iteration {run.step} of {run.steps}: finish it with bmaml resume {model}.")
    return fitted


def _opened(model: Path, new: Path, at: Path | None, written: NewTables) -> tuple[FewShotRegressor, NewRows]:
    """Return the model and the rows to answer for.

    Raises: InputError for a model that is not trained to the end, or if there is no row to predict.
    """
    from bmaml.tables.new import new_rows

    fitted = _loaded(model)
    rows = new_rows(written.read(new), fitted.schema_, None if at is None else written.read(at))
    if not rows.asked_counts.any():
        empty = fitted.schema_.outputs[0].name
        raise InputError(f"no row is asked for: leave {empty!r} empty in {new} where it is wanted, or give a table of rows.")
    return fitted, rows
