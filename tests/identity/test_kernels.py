"""The two forms of the kernel of an exact head's support: in the space of its points, and of its features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bmaml.learners.exact_heads import kernels

KEY = jax.random.key(11)
F, P = 4, 2  # features, outputs


@pytest.fixture(autouse=True)
def exact(monkeypatch, x64):
    """Double precision, and no jitter on the kernel."""
    monkeypatch.setattr(kernels, "_JITTER", 0.0)


@pytest.mark.parametrize(("dtype", "close"), [(np.float32, 2e-2), (np.float64, 1e-9)])
def test_the_kernel_in_the_space_of_features_is_that_in_the_space_of_points(dtype, close):
    """Evidence, predictions, draws and gradients, over masked rows and a small noise.

    The kernel's condition number is about 1e5 here, so single precision leaves the form of points some thousandths.
    """
    rng = np.random.default_rng(8)
    features, y, ask = (jnp.asarray(rng.normal(size=shape), dtype) for shape in ((40, F), (40, P), (5, F)))
    mask = jnp.asarray(rng.uniform(size=40) < 0.8, dtype)
    scale, noise = jnp.exp(jnp.asarray(rng.normal(size=F), dtype)), jnp.asarray(1e-3, dtype)

    def answers(form):
        def found(features, scale, noise):
            kernel = form.of(features, scale, noise, mask)
            white, pull = kernel.whiten(y * mask[:, None])
            half, variance = kernel.noisy_at(ask, jnp.broadcast_to(noise, len(ask)))
            weights = kernel.sample_weights(jnp.zeros((F, P), dtype), jnp.ones(P, dtype), pull, KEY)
            return kernel.log_det, white.T @ white * noise, half.T @ pull, variance / noise, weights

        def total(*inputs):
            parts = found(*inputs)
            return sum(jnp.sin(part).sum() for part in parts), parts

        gradients, parts = jax.jit(jax.grad(total, (0, 1), has_aux=True))(features, scale, noise)
        return [*parts, *gradients]

    for own, other in zip(answers(kernels.FeaturesKernel), answers(kernels.PointsKernel), strict=True):
        assert own.dtype == dtype
        np.testing.assert_allclose(own, other, rtol=close, atol=close * np.abs(other).max())


def test_the_shapes_of_a_support_choose_the_form_of_its_kernel():
    """Points fewer than twice the features keep the form of points."""
    form = lambda count: type(kernels.kernel_of(jnp.ones((count, F)), jnp.ones(F), jnp.ones(()), jnp.ones(count)))  # noqa: E731
    assert [form(count) for count in (2 * F, 2 * F + 1)] == [kernels.PointsKernel, kernels.FeaturesKernel]
