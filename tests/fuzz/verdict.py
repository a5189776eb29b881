"""The one oracle of all fuzzers: an answer that keeps its contract, or one sentence of ours.

Any other exception ends the test, and Hypothesis prints the smallest call that raises it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from cases import is_one_sentence

from bmaml.errors import BmamlError


@dataclasses.dataclass(frozen=True)
class Refused:
    """A call that was refused, by `sentence`."""

    sentence: str


def judged(call: Callable[[], Any], keeps: Callable[[Any], None] | None = None) -> Any:
    """What `call` returns, or how it was refused.

    `keeps` asserts the contract of an answer. By default every number of an answer is finite.
    """
    try:
        answer = call()
    except BmamlError as error:
        refused = Refused(str(error))
    else:
        (keeps or finite)(answer)
        return answer
    assert is_one_sentence(refused.sentence), f"not one sentence that says what to do: {refused.sentence}"
    return refused


def finite(answer: Any) -> None:
    """Assert that every number of an answer is finite."""
    for leaf in jax.tree.leaves(answer):
        if isinstance(leaf, (jax.Array, np.ndarray, float)) and np.issubdtype(np.asarray(leaf).dtype, np.inexact):
            assert np.isfinite(np.asarray(leaf)).all(), f"not finite: {leaf}"
