"""Batched Cholesky factorisations side by side in one program: on some jaxlib versions they wait for each other for ever."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.optimised

PROGRAM = """
from concurrent.futures import ThreadPoolExecutor

import jax, jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

def loss(roots, targets):
    def one(root, target):
        cholesky = jnp.linalg.cholesky(root @ root.T + jnp.eye(len(root)))
        return (solve_triangular(cholesky, target, lower=True) ** 2).sum() + jnp.log(jnp.diagonal(cholesky)).sum()
    return jax.vmap(one)(roots, targets).sum()

@jax.jit
def six(keys):
    draws = [(jax.random.normal(k, (64, 10, 10)), jax.random.normal(k, (64, 10, 1))) for k in keys]
    return [jax.grad(loss)(*draw).sum() for draw in draws]

def total(i):
    return float(sum(six(jax.random.split(jax.random.key(i), 6))))

totals = [total(i) for i in range(50)]
# As the mixture of a fit does: its trainings run in two threads.
with ThreadPoolExecutor(2) as threads:
    assert list(threads.map(total, range(20))) == totals[:20]
print("finished")
"""


@pytest.mark.slow
def test_six_batched_factorisations_in_one_program_and_in_two_threads_finish():
    """A program that hangs cannot fail by itself, so a watchdog stops it; it takes a few seconds where it does not."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    try:
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        pytest.fail("batched Cholesky factorisations hang with this jaxlib: add its version to bmaml.training.jaxlib_versions.")
    assert done.stdout.strip() == "finished", done.stderr
