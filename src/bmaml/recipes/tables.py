"""Settings for tables with standardised columns, and for other tasks of about unit scale."""

from __future__ import annotations

from bmaml.errors import InputError
from bmaml.methods import Method, choose
from bmaml.methods.made_of import Offer
from bmaml.models import MLP, CategoricalModel, GaussianModel, MLPFeatures

_HIDDEN, _FEATURES = (64, 64), 64


def table_offer(
    inputs: int, outputs: int, *, hidden: tuple[int, ...] = _HIDDEN, inner_steps: int = 5, clip: float | None = 10.0
) -> Offer:
    """Return the networks for targets that are numbers, with standardised inputs and outputs.

    Exact heads use 8 features of a 64-64-64 network, with noise that depends on the input. Networks that read their support
    have a noise deviation of at least 0.01.

    - `inputs`, `outputs`: widths of inputs and targets.
    - `hidden`: widths of the hidden layers of a network that is adapted as a whole.
    - `inner_steps`, `clip`: for methods without their own.
    """

    def model(precision: float | None) -> GaussianModel:
        return GaussianModel(MLP((inputs, *hidden, outputs)), precision=4.0 if precision is None else precision)

    settings = {"inner_steps": inner_steps, "clip": clip, "floor": 1e-2}
    return Offer(inputs, outputs, model, lambda: MLPFeatures(inputs, heteroscedastic=True), settings=settings)


def class_offer(
    inputs: int, classes: int, *, hidden: tuple[int, ...] = _HIDDEN, inner_steps: int = 5, clip: float | None = 10.0
) -> Offer:
    """Return the networks for targets that are classes, with standardised inputs.

    `inputs` is the width of the inputs and `classes` the number of classes. `hidden`, `inner_steps` and `clip` are as in
    `table_offer`.
    """

    def model(precision: float | None) -> CategoricalModel:
        return CategoricalModel(MLP((inputs, *hidden, classes)))

    return Offer(
        inputs,
        classes,
        model,
        extractor=lambda: (MLP((inputs, *hidden, _FEATURES)), _FEATURES),
        head=lambda width: CategoricalModel(MLP((width, classes))),
        classes=True,
        settings={"inner_steps": inner_steps, "clip": clip},
    )


def regression_method(name: str, inputs: int, outputs: int, particles: int | None = None) -> Method:
    """Return the method `name` with its settings for tables with standardised `inputs` and `outputs` (their widths).

    `particles` replaces the number of particles.
    Raises: InputError for an unknown name, or `particles` for a method without particles.
    """
    if particles is not None and particles < 1:
        raise InputError(f"{particles} particles were asked for: give at least 1, or None for the method's own number.")
    row = choose(name, "numbers")
    method = row.build(table_offer(inputs, outputs), row.tables, particles=particles)
    return as_pair(method, name)


def as_pair(method: object, name: str) -> Method:
    """Return `method`, called `name`, in the type of a method that learns from given points.

    Raises: InputError for a method for policies.
    """
    if isinstance(method, Method):
        return method
    raise InputError(f"method {name!r} is for policies: use a method for tasks whose points are given.")
