"""Fixtures that several test files share."""

import gc
import os
import re
from contextlib import contextmanager
from importlib.metadata import version

import jax
import jaxtyping
import pytest

# XLA's older code generator compiles in half the time of its newer one, and later versions no longer have it: there an
# unknown flag would end the process. The flags are read when the first program is compiled, and processes inherit them.
if version("jaxlib").startswith("0.9."):
    older = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ["XLA_FLAGS"] = f"{older} {os.environ.get('XLA_FLAGS', '')}".strip()

# No test finds what another one, or its user, has kept. A test of caches names a folder of its own.
os.environ["BMAML_CACHE"] = "off"

# Types and shapes that the package's annotations say are checked when its functions are called in a test's own process. It
# has to be asked for before the package is imported, and costs each process about six seconds there.
jaxtyping.install_import_hook("bmaml", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")
# A type that JAX would pick by its rules is said in the code, so that no sum or count turns into another type unseen.
jax.config.update("jax_numpy_dtype_promotion", "strict")
# Axes that NumPy would add in front are written out, so that no column meets a row unseen.
jax.config.update("jax_numpy_rank_promotion", "raise")

# Tracing makes many small objects that live long. Python's collector walks all of them again and again: a tenth of the time.
gc.set_threshold(200_000, 50, 100)
# Where in the source an operation stands is written into every program, and no test reads it there.
jax.config.update("jax_traceback_in_locations_limit", 0)


# Linux lets a process have 65,530 memory maps, every compiled program keeps some, and a worker of the suite compiles
# thousands: beyond the limit LLVM ends the process. Half of them are left to a module's own tests.
MOST_MAPS = 30_000


def count_maps():
    """How many memory maps this process has, or 0 where the system doesn't tell."""
    try:
        with open("/proc/self/maps", "rb") as maps:
            return sum(1 for _ in maps)
    except OSError:
        return 0


@pytest.fixture(scope="module", autouse=True)
def few_maps():
    """After a module, forget all compiled programs if they take many memory maps."""
    yield
    if count_maps() > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@contextmanager
def compiled(cheaply):
    """Programs that are compiled meanwhile, with XLA's cheap code generation or not."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", cheaply)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module", autouse=True)
def cheap_compilation(request):
    """XLA's cheap code generation: most tests compile much and run little. What runs much is marked `optimised`."""
    with compiled(cheaply=not request.node.get_closest_marker("optimised")):
        yield


@pytest.fixture(autouse=True)
def costly_compilation(request, cheap_compilation):
    """XLA's optimisations for a single test that is marked so."""
    if request.node.get_closest_marker("optimised"):
        with compiled(cheaply=False):
            yield
    else:
        yield


@pytest.fixture(autouse=True)
def types_unchecked(request):
    """No checks of types and shapes in a test marked `unchecked`: it hands over what its type forbids, as users can."""
    marked = bool(request.node.get_closest_marker("unchecked"))
    jaxtyping.config.update("jaxtyping_disable", marked)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def x64():
    """Run the test in double precision, so that identities hold to about 1e-10 and not to 1e-5."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def compilations():
    """A list that grows by one entry for each program XLA compiles while the test runs."""
    seen = []

    def listen(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seen
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture
def refused(capfd, tmp_path):
    """Run the command line; it must fail with code 2 and one sentence, and leave the test's folder as it was."""
    # Not at the top: the flags there have to be set before anything of JAX's is made.
    from cases import content, is_one_sentence, run

    def check(*arguments):
        before = content(tmp_path)
        capfd.readouterr()
        assert run(*arguments) == 2
        out, err = capfd.readouterr()
        sentence = err.removesuffix("\n").removeprefix("bmaml: ")
        assert out == ""
        assert err.startswith("bmaml: ")
        assert is_one_sentence(sentence), err
        assert "Traceback" not in err
        # On the command line a message names flags, and what is written in Python only as such.
        assert "in Python" in sentence or not re.search(r"\b[a-z_]+=[^=]", sentence), sentence
        assert content(tmp_path) == before
        return sentence

    return check


@pytest.fixture(autouse=True)
def tables():
    """Rows that a test adds are taken out after it, so that other tests go over the library's alone."""
    from bmaml.methods import METHODS, POLICY_METHODS
    from bmaml.objectives import OBJECTIVES
    from bmaml.rl.recipes import WORLDS
    from bmaml.tasks import FAMILIES

    before = [(table, {row.name for row in table.known()}) for table in (METHODS, POLICY_METHODS, OBJECTIVES, FAMILIES, WORLDS)]
    yield
    for table, names in before:
        for name in {row.name for row in table.known()} - names:
            table.remove(name)
