"""The shape of the code itself: layers, abstract or final, docstrings, sizes, and no pickle."""

import ast
import functools
import importlib
import inspect
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import equinox as eqx
import pytest
from rooms import ROOMS

import bmaml
from bmaml.io.registry import name_of

ROOT = Path(bmaml.__file__).parent
FILES = {
    ".".join(("bmaml", *f.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): f for f in ROOT.rglob("*.py")
}

CORE = ROOMS.index("training")  # The rooms that a researcher's import touches: arrays, JAX and the standard library alone.
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


@functools.cache
def imported(module, at_once=False):
    """What a module imports: modules of ours by their full name, others by their first.

    With `at_once` only what is imported when the module is, and not what a function imports when it is called.
    """
    found, tree = set(), ast.parse(FILES[module].read_text())
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import: write it in full, so that layers can be read off."
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inside & set(FILES)) or {node.module}
    return {name if name in FILES else name.split(".")[0] for name in found}


def room(module):
    """The room that a module lies in: its folder, or its own name where it is loose."""
    return module.removeprefix("bmaml.").split(".")[0] if module != "bmaml" else "__init__"


def rank(module):
    """The place of a module's room in the list."""
    return ROOMS.index(room(module))


def test_every_room_is_in_the_list_and_no_file_lies_loose():
    assert {room(module) for module in FILES} == set(ROOMS)
    loose = {file.stem for file in ROOT.glob("*.py")}
    assert loose == {"__init__", "__main__", "data", "errors"}


@pytest.mark.parametrize("module", sorted(FILES))
def test_imports_point_one_way(module):
    ahead = [name for name in imported(module) if name in FILES and rank(name) > rank(module)]
    assert not ahead, f"{module} imports {', '.join(ahead)}, of a later room."


def test_objectives_know_abilities_of_learners_and_no_learner():
    """An objective that imports a learner would be closed to a stranger's learner with the same abilities."""
    for module in (name for name in FILES if room(name) == "objectives"):
        learners = {name for name in imported(module) if name.startswith("bmaml.learners")}
        assert learners <= {"bmaml.learners.base", "bmaml.learners.wrappers"}, f"{module} imports {', '.join(learners)}."


def test_imports_do_not_go_round_in_a_circle():
    graph = {module: {name for name in imported(module) if name in FILES} for module in FILES}
    TopologicalSorter(graph).prepare()


def test_the_core_needs_arrays_and_jax_alone():
    allowed = {"equinox", "jax", "jaxlib", "jaxtyping", "numpy", "optax", "safetensors"}
    for module in FILES:
        if rank(module) <= CORE:
            others = {n for n in imported(module, at_once=True) if n not in FILES} - allowed - sys.stdlib_module_names
            assert not others, f"{module} is of the core and imports {', '.join(others)}."


@pytest.mark.parametrize("module", sorted(FILES))
def test_files_are_short_and_load_no_pickles(module):
    text = FILES[module].read_text()
    assert len(text.splitlines()) <= 400
    assert not imported(module) & PICKLES
    assert "allow_pickle=True" not in text


def test_functions_fit_a_screen():
    for module, file in FILES.items():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{node.name} of {module} is longer than 60 lines."


def test_errors_raised_on_purpose_are_our_own():
    """The command line shows only our own errors as sentences; any other reads as a fault of the library."""
    for module, file in FILES.items():
        for node in ast.walk(ast.parse(file.read_text())):
            raised = node.exc.func if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) else None
            if isinstance(raised, ast.Name):
                assert raised.id not in ("ValueError", "TypeError"), f"{module}, line {node.lineno}: raise our own."


@functools.cache
def modules():
    """Every module, imported."""
    return {name: importlib.import_module(name) for name in sorted(FILES)}


def of_module(module):
    """The classes and functions that a module defines, by name."""
    members = vars(modules()[module]).items()
    kinds = [(name, value) for name, value in members if inspect.isclass(value) or inspect.isfunction(value)]
    return {name: value for name, value in kinds if value.__module__ == module}


def classes():
    """Every Equinox module of ours."""
    every = [value for module in FILES for value in of_module(module).values() if inspect.isclass(value)]
    return [value for value in every if issubclass(value, eqx.Module)]


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__qualname__)
def test_every_class_is_abstract_or_final(kind):
    """Abstract: named so, with something left to write. Final: nothing missing, and nobody's base."""
    ours = [base for base in kind.__mro__[1:] if issubclass(base, eqx.Module) and base.__module__.startswith("bmaml")]
    concrete = [base.__name__ for base in ours if not base.__abstractmethods__]
    assert not concrete, f"{kind.__name__} inherits from {', '.join(concrete)}, which is concrete: wrap it instead."
    assert kind.__name__.startswith("Abstract") == bool(kind.__abstractmethods__)


# What no saved run holds: what adaptation makes, meta-parameters and states (their arrays alone are saved), and results.
MADE = (
    *("AbstractDistribution", "AbstractPosterior", "AbstractExactHeadPosterior", "AbstractPrecision", "AbstractArena"),
    *("AbmlMeta", "ConjugateMeta", "FeatureMeta", "GradientMeta", "MatchingMeta", "PlatipusMeta", "RecalibratedMeta"),
    *(
        "RidgeMeta",
        "ResidualMeta",
        "StatedNoise",
        "PooledMeta",
        "Shape",
        "HierarchicalMeta",
        "CorrelatedMeta",
        "GeneralisedMeta",
        "LogarithmicMeta",
        "Logarithm",
        "Knots",
        "FoldTasks",
        "InverseGammaPrior",
        "RelativePrior",
        "DiagonalGaussian",
        "Particle",
        "Recalibration",
    ),
    *(
        "AbmlState",
        "GradientState",
        "PlatipusState",
        "TrainState",
        "MetaBatch",
        "Collected",
        "Trajectories",
        "AdaptedPolicy",
        "Shared",
    ),
    *(
        "Cells",
        "Chains",
        "Conditional",
        "Convergence",
        "PointsKernel",
        "FeaturesKernel",
        "Memory",
        "Process",
        "RidgeHead",
        "RolloutShape",
        "SvgdResult",
        "Wave",
    ),
    *("Drawing", "SteppedLearner", "Walk"),
    *("Board", "Entry", "Evaluation", "NewTask", "Numbers", "Predictor", "Row", "Run", "ScoredTask", "Size", "Truth", "View"),
)


def test_what_a_run_can_hold_has_a_name():
    """A class of the library without a name could be trained with, and the run could not be loaded."""
    concrete = [kind for kind in classes() if not kind.__abstractmethods__]
    held = [kind for kind in concrete if not {base.__name__ for base in kind.__mro__} & set(MADE)]
    bare = [kind.__name__ for kind in held if name_of(kind) is None]
    assert not bare, f"{', '.join(bare)}: write @register('kind/name') above each, or list it in MADE if no run holds one."
    both = [kind.__name__ for kind in concrete if kind not in held and name_of(kind) is not None]
    assert not both, f"{', '.join(both)}: registered, and in the list of what no run holds."
    every = {name for kind in classes() for name in (kind.__name__, *(base.__name__ for base in kind.__mro__))}
    assert set(MADE) <= every, f"{set(MADE) - every} are no classes: take them off the list."


# Answers of a contract that fit most, so that a stranger writes little; a class that knows better writes its own.
DEFAULTS = {"AbstractTasks": {"total", "support_rows", "sized", "limits", "truth", "evaluation_task"}}


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__qualname__)
def test_a_method_is_written_once(kind):
    """No class writes again what a class above it has written (apart from the check at construction and `DEFAULTS`)."""
    for name, value in vars(kind).items():
        if name.startswith("__") or getattr(value, "__isabstractmethod__", False) or not _is_code(value):
            continue
        for base in kind.__mro__[1:]:
            if name in DEFAULTS.get(base.__name__, ()):
                continue
            if base.__module__.startswith("bmaml") and _is_code(written := vars(base).get(name)):
                assert getattr(written, "__isabstractmethod__", False), f"{kind.__name__}.{name} overrides {base.__name__}'s."


def _is_code(value):
    return isinstance(value, property) or inspect.isfunction(getattr(value, "method", value))


def described(value, name):
    """Whether a class or function has a docstring of its own or of what it overrides, not one made by `dataclass`."""
    text = inspect.getdoc(value) or ""
    return bool(text.strip()) and not text.startswith(f"{name}(")


@pytest.mark.parametrize("module", sorted(FILES))
def test_every_public_name_says_what_it_does(module):
    assert (modules()[module].__doc__ or "").strip(), f"{module} has no docstring."
    bare = []
    for name, value in of_module(module).items():
        if name.startswith("_"):
            continue
        bare += [] if described(value, name) else [name]
        for inner in vars(value) if inspect.isclass(value) else ():
            public = not inner.startswith("_") and _is_code(vars(value)[inner])
            if public and not described(getattr(value, inner), inner) and not _inherits_doc(value, inner):
                bare.append(f"{name}.{inner}")
    assert not bare, f"{module}: no docstring on {', '.join(bare)}."


def _inherits_doc(kind, name):
    return any(name in vars(base) and described(vars(base)[name], name) for base in kind.__mro__[1:])


def test_public_names_are_there_and_described():
    for name in [n for n in bmaml.__all__ if not n.startswith("_")]:
        value = getattr(bmaml, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert described(value, name), f"bmaml.{name} has no docstring."
    assert bmaml.__version__.count(".") == 2
