from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from pipeline.jax_backend.build import build_layout, build_regressor, build_weights
from pipeline.jax_backend.features import Cloud, atom_features
from pipeline.study.config import RunConfig

SIZES = np.array([5, 3])
WIDTH = 6


def test_predictions_are_those_of_the_molecule_whatever_its_pose_order_and_padding(
    make_config: Callable[..., RunConfig], data: Any
) -> None:
    config = make_config(objective="property", condition=["a", "b"], samplers={}, model={"layers": 2})
    regressor = build_regressor(config, data.read()[1])
    layout = build_layout(regressor)
    params = layout.unravel(build_weights(regressor, jax.random.key(0)))

    @jax.jit
    def predict(x: Any, numbers: Any, mask: Any) -> jax.Array:
        features = atom_features(numbers, regressor.elements, regressor.features)
        return regressor.predict(params, Cloud(x, features), mask)

    generator = np.random.default_rng(0)
    mask = (np.arange(WIDTH) < SIZES[:, None]).astype(np.float32)
    x = (generator.normal(size=(2, WIDTH, 3)) * mask[..., None]).astype(np.float32)
    numbers = (generator.choice(np.array(regressor.elements), (2, WIDTH)) * mask).astype(np.uint8)
    found = predict(x, numbers, mask)
    assert found.shape == (2, 2)
    assert np.abs(found[0] - found[1]).min() > 1e-4
    # An orthogonal matrix, a reflection among them, and another order of the atoms.
    turn = np.linalg.qr(generator.normal(size=(3, 3)))[0].astype(np.float32)
    order = np.array([2, 0, 1, *range(3, WIDTH)])
    np.testing.assert_allclose(predict((x @ turn)[:, order], numbers[:, order], mask), found, atol=1e-5)
    wider = [np.pad(array, ((0, 0), (0, 2), (0, 0))[: array.ndim]) for array in (x, numbers, mask)]
    np.testing.assert_allclose(predict(*wider), found, atol=1e-5)
