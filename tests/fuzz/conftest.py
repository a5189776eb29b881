"""How long the fuzzers look: a few examples in the suite, the same on every machine; many and new ones by `make fuzz`."""

import os

from hypothesis import HealthCheck, settings

# One program is compiled for each shape, so that a single example may take a second.
COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]}
settings.register_profile("short", max_examples=25, derandomize=True, database=None, **COMMON)
settings.register_profile("long", max_examples=int(os.environ.get("BMAML_FUZZ", "1000")), print_blob=True, **COMMON)


def pytest_itemcollected(item):
    """Fuzzers hand over what types forbid, so they run without the checks of types and shapes, as users do."""
    item.add_marker("unchecked")


settings.load_profile("long" if "BMAML_FUZZ" in os.environ else "short")
