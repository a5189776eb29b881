"""Refuses the jaxlib versions on which exact heads hang."""

from __future__ import annotations

import re

import jax
import jaxlib.version


def _deadlocks(version: str) -> bool:
    """Whether a jaxlib version is one of 0.10.0 to 0.11.0, pre-releases included."""
    major, minor, patch = (int(part) for part in (*re.findall(r"\d+", version), "0", "0")[:3])
    return (major, minor) == (0, 10) or (major, minor, patch) == (0, 11, 0)


def check_platform(version: str | None = None, platform: str | None = None) -> None:
    """Raise RuntimeError if batched Cholesky factorisations would deadlock: jaxlib 0.10.0 to 0.11.0 on a CPU.

    `version` and `platform` are those of this process by default.
    """
    version = version or jaxlib.version.__version__
    if _deadlocks(version) and (platform or jax.default_backend()) == "cpu":
        raise RuntimeError(
            f"jaxlib {version} deadlocks on the CPU in batched Cholesky factorisations: use 0.9.2, or 0.11.1 and later "
            "(pip install 'jax>=0.9,!=0.10.*,!=0.11.0')."
        )
