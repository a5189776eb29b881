"""`bmaml figure NAME`: the picture of an experiment and its numbers."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import typer

from bmaml.cli.groups import OptionGroup, add_command, refuse

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bmaml.experiments.numbers import Numbers
    from bmaml.experiments.policies import Runs
    from bmaml.rl import AbstractWorld


@dataclass(frozen=True)
class FigureOptions(OptionGroup):
    """The sizes and inputs of an experiment."""

    TITLE: ClassVar[str] = "The experiment"
    quick: Annotated[bool, typer.Option("--quick", help="A small size that shows the shape in minutes.")] = False
    steps: Annotated[int | None, typer.Option(min=20, help="Meta-steps of each training.")] = None
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each method, with seeds from --seed on.")] = 1
    settings: Annotated[
        str,
        typer.Option(help="For bmaml-1: paper, tuned, or paper,tuned. A method without published settings is in tuned alone."),
    ] = "paper,tuned"
    methods: Annotated[
        str | None,
        typer.Option(help="For bmaml-1, bmaml-2 and active-images: some of their methods, as maml,bmaml (default: all)."),
    ] = None
    out: Annotated[
        Path, typer.Option(help="Folder for the picture, its numbers and the trainings, with which a second call goes on.")
    ] = Path("figures")
    runs: Annotated[
        str | None,
        typer.Option(
            help="For active, returns and paths: folders of runs on one family, as runs/a,runs/b (default: trains its own)."
        ),
    ] = None
    images: Annotated[str, typer.Option(help="For bmaml-2 and active-images: digits, omniglot or folder.")] = "digits"
    data: Annotated[Path | None, typer.Option(help="Folder or zip of the images of omniglot or folder.")] = None
    size: Annotated[int | None, typer.Option(min=1, help="Side in pixels (default: omniglot 28, folder 84).")] = None
    superclasses: Annotated[Path | None, typer.Option(help="For folder: CSV of classes and their superclasses.")] = None

    @property
    def every_seed(self) -> tuple[int, ...]:
        """The seeds of the trainings."""
        return tuple(range(self.seed, self.seed + self.seeds))

    @property
    def folders(self) -> list[str]:
        """The folders of the given runs."""
        from bmaml.cli.options import names_of

        return names_of(self.runs, flag="--runs")


class Drawn(NamedTuple):
    """An experiment's numbers (or texts) by the names of their files, and its picture."""

    numbers: dict[str, Numbers | str]
    picture: Figure


def add(app: typer.Typer) -> None:
    """Add this module's command."""
    add_command(app, figure, "bmaml figure", "bmaml figure maml --quick --out figures")


def _training(options: FigureOptions, **small: Any) -> dict[str, Any]:
    """Return how an experiment's methods are trained, with the sizes `small` if it runs at its small size."""
    steps = {} if options.steps is None else {"steps": options.steps}
    return {"seeds": options.every_seed} | (small if options.quick else {}) | steps


def _methods(options: FigureOptions, known: tuple[str, ...], small: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Return which of the methods `known` to a figure it shows: those asked for, or all, or `small` at its small size.

    Raises: InputError for another name.
    """
    from bmaml.cli.options import names_of
    from bmaml.rows import pick

    named = {name: name for name in known}
    asked = tuple(pick("method of this figure", name, named) for name in names_of(options.methods, flag="--methods"))
    return {"methods": asked or (small if small and options.quick else known)}


def _images(options: FigureOptions) -> dict[str, Any]:
    """Return which images a figure is of."""
    return {name: getattr(options, name) for name in ("images", "data", "size", "superclasses")}


def _after(options: FigureOptions, name: str, drawn: Callable[[Numbers], Drawn]) -> Callable[[Numbers], object]:
    """Return what saves the figure `name` after each training, as it is `drawn` of the numbers so far.

    These files are not in the place of the whole figure, which an earlier call may have made.
    """
    return lambda numbers: _save(name, drawn(numbers), options.out / name / _SO_FAR)


def _kept(options: FigureOptions, name: str) -> dict[str, Any]:
    """Return where the trainings of the figure `name` are kept, and what shows each."""
    from bmaml.training.progress import BarProgress

    return {"directory": options.out / name, "progress": BarProgress}


def _svgd(options: FigureOptions) -> Drawn:
    from bmaml.experiments import svgd_mixture
    from bmaml.plots import svgd_mixture as plot

    numbers = svgd_mixture.run(seed=options.seed)
    final = svgd_mixture.summary(numbers)
    typer.echo("after 500 steps: " + ", ".join(f"{k} {v:.3f}" for k, v in final.items()) + " (truth 0.667, 5, 0.341)")
    return Drawn({"svgd-mixture": numbers}, plot.draw(numbers))


def _maml(options: FigureOptions) -> Drawn:
    from bmaml.experiments import adaptation
    from bmaml.plots import adaptation as plot

    size = _training(options, steps=1500, tasks=200)
    errors, curves = adaptation.run(**size, **_kept(options, "maml"))
    return Drawn({"maml": errors, "maml-curves": curves}, plot.draw((errors, curves)))


def _bmaml_1(options: FigureOptions) -> Drawn:
    from bmaml.cli.options import settings_of
    from bmaml.experiments import training_curves as curves
    from bmaml.plots import training_curves as plot

    def drawn(numbers: Numbers) -> Drawn:
        return Drawn({"bmaml-1": numbers, "bmaml-1.md": curves.markdown(numbers)}, plot.draw(numbers))

    size = _training(options, steps=150, marks=5, test_tasks=50, shots=(5,), tasks=(100,))
    numbers = curves.run(
        **size,
        **_methods(options, curves.METHODS),
        **_kept(options, "bmaml-1"),
        settings=settings_of(options.settings),
        after=_after(options, "bmaml-1", drawn),
    )
    return drawn(numbers)


def _banana(options: FigureOptions) -> Drawn:
    from bmaml.experiments import banana
    from bmaml.plots import banana as plot

    draws, scores = banana.run(seed=options.seed)
    for row in scores.where():
        off = f"mean off {row['mean_error']:.1%} of a deviation, covariance {row['covariance_error']:.1%}"
        well = "" if row["r_hat"] is None else f", R-hat {row['r_hat']:.4f}, {row['divergences']} divergences"
        typer.echo(f"{row['method']}: {off}{well}")
    return Drawn({"banana": draws, "banana-scores": scores}, plot.draw(draws, scores))


def _active(options: FigureOptions) -> Drawn:
    from bmaml.experiments import active
    from bmaml.plots import active as plot

    if options.folders:
        trained, family = active.runs_of(options.folders)
        every = {options.seed: trained}
    else:
        every, family = active.fit(**_training(options, steps=600), **_kept(options, "active")), "sinusoid"
    found = [active.run(runs, family, tasks=50 if options.quick else 200, seed=seed) for seed, runs in every.items()]
    numbers, needed = (functools.reduce(operator.add, tables) for tables in zip(*found, strict=True))
    for row in needed.where():
        count = f"{row['points']} points" if row["points"] else "more than 10 points"
        gap = f"{row['gap']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
        typer.echo(f"{row['method']} by {row['by']}: random's error at 10 with {count} (difference {gap})")
    return Drawn({"active": numbers, "active-needed": needed}, plot.draw(numbers))


def _early_stopping(options: FigureOptions) -> Drawn:
    from bmaml.experiments import early_stopping
    from bmaml.plots import early_stopping as plot

    paths, shares = early_stopping.run(seed=options.seed)
    typer.echo(f"largest gap between gradient descent and the MAP: {max(paths.values('gap')):.1e}")
    return Drawn({"early-stopping": paths, "early-stopping-shrinkage": shares}, plot.draw((paths, shares), seed=options.seed))


def _curvature(options: FigureOptions) -> Drawn:
    from bmaml.experiments import curvature
    from bmaml.plots import curvature as plot

    numbers = curvature.run(seed=options.seed, **({"tasks": 4} if options.quick else {}))
    return Drawn({"curvature": numbers, "curvature.md": curvature.markdown(numbers)}, plot.draw(numbers))


def _policies(options: FigureOptions) -> tuple[Runs, AbstractWorld]:
    """Return runs of policies and their world: the given ones, or ones that are trained now."""
    from bmaml.experiments import policies as control

    if options.folders:
        return control.policies_of(options.folders)
    return control.fit(**_training(options, steps=10, batch=5), **_kept(options, "policies"))


def _returns(options: FigureOptions) -> Drawn:
    from bmaml.experiments import policies as control
    from bmaml.plots import policies as plot

    runs, world = _policies(options)
    numbers, training = control.returns(runs, world, count=40 if options.quick else 400), control.progress_of(runs)
    for row in numbers.where():
        bounds = f"{row['return']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        typer.echo(f"{row['method']} after {row['updates']} updates: {bounds}")
    return Drawn({"returns": numbers, "returns-training": training}, plot.draw_returns(numbers, training))


def _paths(options: FigureOptions) -> Drawn:
    from bmaml.experiments import policies as control
    from bmaml.plots import policies as plot

    numbers = control.paths(*_policies(options), seed=options.seed)
    return Drawn({"paths": numbers}, plot.draw_paths(numbers))


def _bmaml_2(options: FigureOptions) -> Drawn:
    from bmaml.experiments import particles
    from bmaml.plots import particles as plot

    def drawn(numbers: Numbers) -> Drawn:
        return Drawn({"bmaml-2": numbers}, plot.draw(numbers))

    size = _training(options, steps=300, particles=(1, 5), counts=(10,), episodes=100)
    numbers = particles.run(
        **_images(options),
        **size,
        **_methods(options, particles.METHODS),
        **_kept(options, "bmaml-2"),
        after=_after(options, "bmaml-2", drawn),
    )
    return drawn(numbers)


def _active_images(options: FigureOptions) -> Drawn:
    from bmaml.experiments import active_images
    from bmaml.plots import active_images as plot

    size = _training(options, steps=300) | _methods(options, active_images.METHODS, small=("ridge",))
    numbers, needed = active_images.run(**_images(options), **size, **_kept(options, "active-images"))
    for row in needed.where(random_labels=20):
        if row["by"] != "random":
            count = f"{row['labels']} labels" if row["labels"] else "more than 25 labels"
            gap = f"{row['gap']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
            typer.echo(f"{row['method']} from {row['start']} by {row['by']}: random's accuracy at 20 with {count} (gap {gap})")
    return Drawn({"active-images": numbers, "active-images-needed": needed}, plot.draw(numbers))


class Row(NamedTuple):
    """A figure.

    `make` makes it, `shows` says what it shows, and `takes` how long its full size takes. `options` are those that it takes
    and others do not.
    """

    make: Callable[[FigureOptions], Drawn]
    shows: str
    takes: str
    options: tuple[str, ...] = ()


_TRAINING = ("--steps", "--seeds")
_CURVES = (*_TRAINING, "--methods", "--settings")
_IMAGES = (*_TRAINING, "--methods", "--images", "--data", "--size", "--superclasses")
FIGURES = {
    "svgd-mixture": Row(_svgd, "SVGD's particles on the mixture of Liu and Wang", "seconds"),
    "maml": Row(_maml, "MAML beside pretraining on sinusoids", "minutes", _TRAINING),
    "bmaml-1": Row(_bmaml_1, "errors along meta-training, figure 1 of Kim et al.", "hours", _CURVES),
    "banana": Row(_banana, "HMC and SVGD on a curved density", "seconds"),
    "active": Row(_active, "errors by points that the model chose", "minutes", (*_TRAINING, "--runs")),
    "early-stopping": Row(_early_stopping, "gradient descent as a prior", "seconds"),
    "curvature": Row(_curvature, "curvatures of ML-LAPLACE", "minutes"),
    "returns": Row(_returns, "returns of policies after each update", "minutes", (*_TRAINING, "--runs")),
    "paths": Row(_paths, "paths of policies before and after an update", "minutes", (*_TRAINING, "--runs")),
    "bmaml-2": Row(_bmaml_2, "accuracy by particles and tasks, figure 2 of Kim et al.", "an hour", _IMAGES),
    "active-images": Row(_active_images, "accuracy by labels that the model chose", "an hour", _IMAGES),
}
# Where the figure of the trainings so far is, within the folder of the trainings.
_SO_FAR = "so-far"


def figure(
    options: FigureOptions,
    name: Annotated[str | None, typer.Argument(help="Name of a figure (default: lists them).")] = None,
) -> None:
    """List the figures, or make one: NAME.png, and the numbers behind it as CSV.

    What is trained for a figure is kept in the folder, so that the same command goes on after Ctrl-C.
    """
    from bmaml.cli.options import check_folder, kept_after_ctrl_c
    from bmaml.rows import pick

    if name is None:
        for known, row in FIGURES.items():
            typer.echo(f"{known:14s} {row.shows} ({row.takes})")
        return
    row = pick("figure", name, FIGURES)
    for flag in sorted({flag for known in FIGURES.values() for flag in known.options} - {*row.options}):
        takers = [known for known, other in FIGURES.items() if flag in other.options]
        refuse(options, f"figure {name} does not take it, which is for {', '.join(takers)}", only=(flag,))
    if options.folders:
        refuse(options, "the runs are given", only=_TRAINING)
    check_folder(options.out)
    trains = "--steps" in row.options and not options.folders
    with kept_after_ctrl_c(options.out) if trains else nullcontext():
        drawn = row.make(options)
    written = _save(name, drawn, options.out)
    _forget(options.out / name / _SO_FAR, [f"{name}.png", *(path.name for path in written)])
    typer.echo(f"wrote {options.out / f'{name}.png'} and {', '.join(map(str, written))}")


def _forget(folder: Path, names: list[str]) -> None:
    """Remove the figure so far, whose files in `folder` have these names, after the whole one was written."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _save(name: str, drawn: Drawn, out: Path) -> list[Path]:
    """Write the picture of a figure and its numbers; return the files of the numbers."""
    from bmaml.cli.options import make_folder
    from bmaml.plots import style

    make_folder(out)
    style.save(drawn.picture, out / f"{name}.png")
    return [_write(out, stem, numbers) for stem, numbers in drawn.numbers.items()]


def _write(out: Path, stem: str, numbers: Numbers | str) -> Path:
    """Write numbers as CSV, or a text under its own name."""
    from bmaml.io.files import write_atomically

    if isinstance(numbers, str):
        write_atomically(out / stem, numbers)
        return out / stem
    numbers.write(out / f"{stem}.csv")
    return out / f"{stem}.csv"
