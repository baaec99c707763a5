import jax
import jax.numpy as jnp
import numpy as np

from pipeline.jax_backend.products import edge_product


def test_value_and_gradient_are_those_of_the_plain_product() -> None:
    generator = np.random.default_rng(0)
    with jax.enable_x64(True):
        edges, kernel, weight = (
            jnp.asarray(generator.normal(size=size)) for size in [(3, 4, 4, 5), (5, 2), (3, 4, 4, 2)]
        )

        def loss(product, edges, kernel):  # type: ignore[no-untyped-def]
            return jnp.sum(jnp.sin(product(edges, kernel)) * weight)

        ours, plain = (
            jax.value_and_grad(loss, argnums=(1, 2))(product, edges, kernel) for product in (edge_product, jnp.matmul)
        )
    np.testing.assert_allclose(ours[0], plain[0], rtol=1e-12)
    for gradient, expected in zip(ours[1], plain[1], strict=True):
        assert gradient.shape == expected.shape
        np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-12)
