"""Networks of images: no image sees another, pooling is pooling, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import is_one_sentence, jit
from jax import lax

from bmaml.models import MLP, Conv4, ResNet12
from bmaml.models.convnets import max_pool

SHAPE = (16, 16, 1)
SMALL = {
    "conv": Conv4(SHAPE, 4),
    "growing": Conv4(SHAPE, 2, 3, growth=2),
    "strided": Conv4((17, 16, 1), 4, 3, pool="stride"),
    "resnet": ResNet12(SHAPE, (2, 3, 4, 5), 3),
    "mlp": MLP((256, 4, 3)),
}


def outputs(network, images):
    return network.apply(network.init(jax.random.key(0)), images)


def first_output(network):
    """The outputs of the first of three images, among the given two others."""
    first = images(network, 1)
    run = jit(lambda others: outputs(network, jnp.concatenate([first, others]))[0])
    return [np.asarray(run(images(network, 2, seed))) for seed in (1, 2)]


def images(network, count, seed=0):
    width = 17 * 16 if network is SMALL["strided"] else 256
    return jax.random.uniform(jax.random.key(seed), (count, width))


@pytest.mark.parametrize("network", SMALL.values(), ids=SMALL)
def test_a_prediction_does_not_change_with_the_other_images(network):
    np.testing.assert_allclose(*first_output(network), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", ["none", "group", "instance", "pixel"])
def test_norms_are_of_one_image(norm):
    np.testing.assert_allclose(*first_output(Conv4(SHAPE, 4, norm=norm)), rtol=1e-5, atol=1e-6)


def test_the_transductive_norm_is_not_of_one_image():
    one, other = first_output(Conv4(SHAPE, 4, norm="transductive"))
    assert np.abs(one - other).max() > 0.01


def test_features_are_as_many_as_said():
    assert Conv4(SHAPE, 2, growth=3).features == 2 * 3**3
    growing, strided = Conv4(SHAPE, 2, growth=3), Conv4((20, 33, 3), 2, pool="stride")
    for network in (SMALL["conv"], growing, strided, ResNet12(SHAPE, (2, 3, 4, 5))):
        found = jax.eval_shape(lambda n=network: outputs(n, jnp.zeros((2, np.prod(n.shape)))))
        assert found.shape == (2, network.features)


def test_pooling_is_xlas_with_its_derivatives_and_ties_share(x64):
    z = jax.random.normal(jax.random.key(0), (2, 5, 6, 3))

    def xlas(z):
        return lax.reduce_window(z, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    def twice(pool):
        slope = jax.grad(lambda z: jnp.sin(pool(z * z)).sum())
        return jit(lambda z: (pool(z), slope(z), jax.grad(lambda z: jnp.square(slope(z)).sum())(z)))(z)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), twice(max_pool), twice(xlas))
    np.testing.assert_array_equal(jax.grad(lambda z: max_pool(z).sum())(jnp.ones((1, 2, 2, 1))), 0.25)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Conv4((8, 28, 1)),
        lambda: Conv4(SHAPE, 0),
        lambda: Conv4(SHAPE, growth=0),
        lambda: Conv4(SHAPE, norm="batch"),
        lambda: Conv4(SHAPE, pool="mean"),
        lambda: Conv4(SHAPE, form="fft"),
        lambda: ResNet12(SHAPE, (4, 4, 4)),
        lambda: outputs(Conv4(SHAPE, 4), jnp.zeros((2, 16, 16, 1))),
    ],
)
@pytest.mark.unchecked
def test_what_does_not_fit_is_refused_in_a_sentence(build):
    with pytest.raises(ValueError, match=r"give|use") as caught:
        build()
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize(
    "build", [lambda spread: Conv4(SHAPE, 4, 3, head_scale=spread), lambda spread: MLP((4, 5, 3), head_scale=spread)]
)
def test_a_head_starts_as_far_from_zero_as_it_is_told(build):
    """Leaves of three outputs are the head's; all others start the same."""
    starts = [jax.tree.leaves(build(spread).init(jax.random.key(0))) for spread in (0.0, 1.0, 2.0)]
    for none, one, twice in zip(*starts, strict=True):
        head = one.shape[-1] == 3
        np.testing.assert_allclose(none, 0 * one if head else one)
        np.testing.assert_allclose(twice, 2 * one if head else one, rtol=1e-6)
    with pytest.raises(ValueError, match="at least 0"):
        build(-1.0)
