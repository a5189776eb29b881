"""Quantiles of any level of any mixture."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from verdict import Refused, judged

from bmaml.distributions import Mixture, Normal, StudentT

PAIRS = {"min_size": 2, "max_size": 2}
LEVELS = st.one_of(st.floats(0, 1), st.floats(0, 2**-100), st.floats(), st.sampled_from([None, True, "0.5", [0.1, 0.2]]))


@given(
    loc=st.lists(st.floats(-1e3, 1e3, width=32), **PAIRS),
    scale=st.lists(st.floats(2**-10, 1e3, width=32), **PAIRS),
    df=st.lists(st.floats(2, 2**14, width=32), **PAIRS),
    levels=st.lists(LEVELS, **PAIRS),
)
def test_a_quantile_is_finite_and_rises_with_its_level(loc, scale, df, levels):
    loc, scale, df = (jnp.asarray(values)[:, None, None] for values in (loc, scale, df))
    for part in (Normal(loc, scale), StudentT(df, loc, scale)):
        both = Mixture(jnp.array([0.0, -1.0]), part)
        answers = [judged(lambda level=level, both=both: np.asarray(both.quantile(level))) for level in levels]
        if not any(isinstance(answer, Refused) for answer in answers):
            below, above = answers if np.less(*levels) else answers[::-1]
            assert (below <= above + 1e-5 * (1 + abs(above))).all()
