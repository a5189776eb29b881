"""The compiled training program of a method on sinusoids, called for a number of meta-steps and timed."""

from __future__ import annotations

import time
from typing import Any

import jax
import numpy as np

from bmaml.io.programs import compiler_options
from bmaml.methods import Method
from bmaml.tasks import Sinusoids
from bmaml.training.meta_step import build_chunk
from bmaml.training.optimisers import Adam
from bmaml.training.plan import Plan


class Program:
    """Meta-steps of `method` on `tasks` tasks each, with `points` points in each support and query, in one program."""

    def __init__(self, method: Method, tasks: int, points: int):
        self.family = Sinusoids(shots=points, queries=points)
        plan = Plan(batch=tasks, outer=Adam(1e-3, decay="none"), skip_limit=10**9)
        self.state: Any = jax.jit(lambda: method.begin(plan), compiler_options=compiler_options(runs_once=True))()
        lowered = build_chunk(method, plan).lower(self.state, self.family, np.uint32(0), np.int32(1))
        self.compiled = lowered.compile(compiler_options())

    def seconds(self, count: int) -> tuple[float, float]:
        """Return the seconds a meta-step, on the clock and of the processor, of a call for `count` meta-steps."""
        began, processor = time.perf_counter(), time.process_time()
        self.state, _ = self.compiled(self.state, self.family, np.uint32(0), np.int32(count))
        jax.block_until_ready(self.state)
        return (time.perf_counter() - began) / count, (time.process_time() - processor) / count
