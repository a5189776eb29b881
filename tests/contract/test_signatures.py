"""Signatures that say what they take: few arguments of a command, and no `Any` that a type could name."""

import ast
import inspect

from test_structure import FILES

from bmaml.cli import app

MOST_ARGUMENTS = 12

# Where `Any` stays in a public signature, and why no type could say more: names end a module's and a function's path.
EXCEPTIONS = {
    "any pytree of arrays, whose type a model, a learner or an optimiser chooses": """
        Diagonal.__call__ GaussNewton.__call__ ExactHessian.__call__ Kronecker.__call__ LastLayer.__call__
        map_particles stein_discrepancy GradientLearner.climb first_state settle inner_step collect policies
        PolicyMethod.policies pack unpack RunFolder.save RunFolder.load AbstractSource.sample
    """,
    "any object that can be saved, or what comes back of it": """
        RunFolder.create RunFolder.parts RunFolder.describes to_config from_config completed AbstractReference.read is_name
        name_of find names source is_number
    """,
    "a record of JSON": """
        seal sealed read_sealed predictions threshold
        kept_run AbstractEstimator.about AbstractEstimator.described FewShotClassifier.about FewShotRegressor.about
        FewShotClassifier.fit FewShotRegressor.fit saved EpisodeScores.to_json Score.to_json Score.from_json
        to_records as_json AbstractArena.about run
        Cache.__init__ Cache.describe Cache.load Cache.touch Cache.build RunFolder.about RunFolder.notes
        Form.from_json Column.to_json Column.from_json Schema.to_json Schema.from_json Reading.to_json Reading.from_json
        Learned.to_json FewShotTableClassifier.about FewShotTableClassifier.fit
        Run.save train about Ledger.__init__ Keeper.save seal sealed read_sealed predictions threshold
    """,
    "the constructor's arguments by name, tags, routes and arrays of scikit-learn, as it asks": """
        AbstractEstimator.get_params AbstractEstimator.set_params
        AbstractRowsEstimator.get_metadata_routing routing row_weights tags
    """,
    "settings of a method, a plan or an environment that is known by name alone": """
        MethodSpec.build as_published build_method build_image_method build_world build_policy_method task_posterior
        WandB.__init__ MLflow.__init__ Trackio.__init__
    """,
    "whatever somebody gives, which the function itself checks": """
        preset as_method as_objective as_world as_family family as_outer check_arguments check_options imported import_module
        as_widths as_cells Table.with_columns
        check_fields check_value check_arguments as_tuple AtLeast.holds Above.holds Below.holds
        Named.made_by Rows.__init__
    """,
    "an object of a package that need not be installed": """
        AdaptedTask.frame like Adapted.predict pillow reward assign make rollout DataFrame.columns Callbacks.tell
    """,
}
ALLOWED = {name for names in EXCEPTIONS.values() for name in names.split()}


def bare(node):
    """Whether an annotation says `Any` somewhere else than in a pytree's."""
    if node is None or (isinstance(node, ast.Subscript) and ast.unparse(node.value) == "PyTree"):
        return False
    return (isinstance(node, ast.Name) and node.id == "Any") or any(bare(child) for child in ast.iter_child_nodes(node))


def public(body, path=""):
    """The public functions of a module and of its public classes, by their path in it."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public(node.body, f"{path}{node.name}.")
        elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name in ("__init__", "__call__")):
            yield f"{path}{node.name}", node


def annotations(function):
    """What a function says of its arguments and of what it returns."""
    given = function.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return [*(argument.annotation for argument in arguments if argument is not None), function.returns]


def test_public_signatures_name_their_types():
    found = [
        (name, f"{module}: {name}")
        for module, file in FILES.items()
        for name, function in public(ast.parse(file.read_text()).body)
        if any(map(bare, annotations(function)))
    ]
    new = sorted(place for name, place in found if name not in ALLOWED)
    assert not new, f"Any in the public signature of {', '.join(new)}: name the type, or add it above with its reason."
    stale = sorted(ALLOWED - {name for name, _ in found})
    assert not stale, f"no public signature of {', '.join(stale)} has Any: take these names out of the exceptions."


def test_commands_take_few_arguments():
    """Those that are written: a group of options is one."""
    counts = {c.callback.__name__: len(inspect.signature(inspect.unwrap(c.callback)).parameters) for c in grouped()}
    assert {name: count for name, count in counts.items() if count > MOST_ARGUMENTS} == {}
    assert {"train", "fit", "evaluate", "leaderboard", "predict", "figure"} <= set(counts)


def grouped():
    """The commands whose options come in groups; the others are as Typer reads them."""
    for command in app.registered_commands:
        if hasattr(command.callback, "__wrapped__"):
            yield command
        else:
            assert len(inspect.signature(command.callback).parameters) <= MOST_ARGUMENTS, command.callback
