import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.jax_backend.products import edge_product, matmul
from pipeline.study.config import Precision


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


def test_bfloat16_rounds_the_factors_of_value_and_gradient_and_nothing_else() -> None:
    generator = np.random.default_rng(0)
    edges, kernel, weight = (
        jnp.asarray(generator.normal(size=size), jnp.float32) for size in [(3, 4, 4, 5), (5, 2), (3, 4, 4, 2)]
    )

    def rounded(array: jax.Array) -> npt.NDArray[np.float64]:
        return np.asarray(array.astype(jnp.bfloat16), np.float64)

    value, pullback = jax.vjp(lambda *factors: edge_product(*factors, "bfloat16"), edges, kernel)
    # Sums in bfloat16 would be off by 1e-2.
    np.testing.assert_allclose(value, rounded(edges) @ rounded(kernel), rtol=1e-5, atol=1e-5)
    of_edges, of_kernel = pullback(weight)
    np.testing.assert_allclose(of_edges, rounded(weight) @ rounded(kernel).T, rtol=1e-5, atol=1e-5)
    expected = np.einsum("bijk,bijf->kf", rounded(edges), rounded(weight))
    np.testing.assert_allclose(of_kernel, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(matmul(edges, kernel, "bfloat16"), value)


@pytest.mark.parametrize(
    ("precision", "device", "requested"),
    [("tf32", "gpu", "HIGH"), ("float32", "gpu", "HIGHEST"), ("tf32", "cpu", "HIGH"), ("float32", "cpu", "DEFAULT")],
)
def test_the_precision_that_is_requested(
    monkeypatch: pytest.MonkeyPatch, precision: Precision, device: str, requested: str
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: device)
    a, b = (jnp.asarray(np.random.default_rng(0).normal(size=(7, 7)), jnp.float32) for _ in range(2))
    program = jax.jit(lambda a, b: matmul(a, b, precision)).lower(a, b).as_text()
    assert requested == "DEFAULT" or f"precision = [{requested}, {requested}]" in program
    assert ("HIGH" in program) == (requested != "DEFAULT")
    # A CPU computes in float32 whatever is requested.
    np.testing.assert_array_equal(matmul(a, b, precision), np.asarray(jnp.matmul(a, b)))
