"""What is imported before it is needed: it is what every start waits for."""

import ast
import inspect
import json
import subprocess
import sys

import bmaml

# The outside packages that each step of a program's start may load, one after another.
STEPS = {
    "import bmaml": set(),
    "from bmaml.cli import app": {"annotated_doc", "shellingham", "typer"},
    "bmaml.train, bmaml.Method": {
        "jax",
        "jaxlib",
        "numpy",
        "ml_dtypes",
        "opt_einsum",
        "equinox",
        "jaxtyping",
        "optax",
        "safetensors",
    },
    "bmaml.FewShotRegressor": {"pyarrow", "scipy"},
}
# Parts of these packages that take long to import, and that no start needs.
LATE = {"scipy.stats", "scipy.optimize", "scipy.sparse", "scipy.spatial", "pyarrow.parquet"}
# What packages load of others by themselves.
TOLERATED = {
    "absl",
    "chardet",
    "charset_normalizer",
    "cloudpickle",
    "cython_runtime",
    "etils",
    "importlib_resources",
    "pygments",
    "typing_extensions",
    "wadler_lindig",
    "zipp",
}


def test_every_step_of_a_start_loads_what_it_needs_alone():
    code = "import sys, json\nsaid = []\n"
    for step in STEPS:
        code += f"{step}\nsaid.append(sorted(sys.modules))\n"
    # A table whose rows lie in a room that no step has loaded is whole all the same.
    code += "assert 'bmaml.rl' not in sys.modules\nfrom bmaml.methods import POLICY_METHODS\n"
    code += "assert 'bmaml-chaser' in POLICY_METHODS\nprint(json.dumps(said))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    allowed = {"bmaml", *TOLERATED, *sys.stdlib_module_names}
    for (step, more), loaded in zip(STEPS.items(), json.loads(done.stdout), strict=True):
        allowed |= more
        packages = {name.split(".")[0] for name in loaded}
        beside = {name for name in packages - allowed if not name.startswith(("_", "__"))}
        assert not beside, f"{step} loads {', '.join(sorted(beside))}."
        assert not LATE & set(loaded), f"{step} loads {', '.join(sorted(LATE & set(loaded)))}."


def test_what_a_type_checker_reads_is_what_python_imports():
    block = next(node for node in ast.parse(inspect.getsource(bmaml)).body if isinstance(node, ast.If))
    read = [(node.module, alias.name) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(read) == sorted((module, name) for module, names in bmaml._PLACES.items() for name in names)
    assert all(getattr(bmaml, name) is not None for name in bmaml.__all__)
