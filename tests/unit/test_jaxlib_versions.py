"""The jaxlib versions that hang are refused with a sentence, and no others."""

import jax
import pytest
from cases import is_one_sentence

from bmaml.training.jaxlib_versions import check_platform


@pytest.mark.parametrize("version", ["0.10.0", "0.10.1", "0.10.2", "0.11.0", "0.10.3", "0.10.0.dev20260301", "0.11.0rc1"])
def test_versions_that_deadlock_on_a_cpu_are_refused(version):
    with pytest.raises(RuntimeError, match=rf"jaxlib {version} deadlocks on the CPU") as error:
        check_platform(version=version, platform="cpu")
    assert is_one_sentence(error.value)
    check_platform(version=version, platform="gpu")


@pytest.mark.parametrize("version", ["0.9.2", "0.11.1", "0.11.2", "0.12.0", "0.12.0.1", "0.12", "0.12.0rc1", "1.0.0", "0.9.10"])
def test_other_versions_are_not(version):
    check_platform(version=version, platform="cpu")


def test_this_installation_is_not():
    check_platform()
    assert jax.default_backend()
